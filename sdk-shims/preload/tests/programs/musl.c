#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <fcntl.h>
#include <errno.h>
#include <unistd.h>
#include <string.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <sys/wait.h>
#include <sys/syscall.h>
int main(){ int f=open("/proc/self/environ",O_RDONLY); printf("open %d %d\n",f>=0,errno); errno=0; FILE*g=fopen("/proc/self/environ","r"); printf("fopen %d %d\n",g!=0,errno);
 errno=0; f=syscall(SYS_openat,-100,"/proc/self/environ",0); printf("syscall %d %d\n",f>=0,errno);
 struct sockaddr_in a={.sin_family=AF_INET,.sin_port=htons(9)}; a.sin_addr.s_addr=htonl(0xcb007109); int s=socket(AF_INET,SOCK_DGRAM,0); errno=0; printf("connect %d ",connect(s,(void*)&a,sizeof a)); printf("%d\n",errno); errno=0; printf("sendto %d ",(int)sendto(s,"x",1,0,(void*)&a,sizeof a)); printf("%d\n",errno);

 /* Calls of a thread that cannot be cancelled leave libc by another instruction. */
 int before; pthread_setcancelstate(PTHREAD_CANCEL_DISABLE,&before);
 errno=0; f=open("/proc/self/environ",O_RDONLY); printf("uncancellable open %d %d\n",f>=0,errno);
 errno=0; printf("uncancellable connect %d ",connect(s,(void*)&a,sizeof a)); printf("%d\n",errno); errno=0; printf("uncancellable sendto %d ",(int)sendto(s,"x",1,0,(void*)&a,sizeof a)); printf("%d\n",errno);
 pthread_setcancelstate(before,0);
 fflush(stdout); printf("system %d\n",system("echo through")); return 0;}
