/* The forbidden program: says that it ran, by a datagram to 127.0.0.1 at the port of its first argument. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/socket.h>

int main(int argc, char **argv) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(argc > 1 ? atoi(argv[1]) : 9)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return sendto(socket(AF_INET, SOCK_DGRAM, 0), "mark", 4, 0, (struct sockaddr *)&to, sizeof to) == 4 ? 0 : 1;
}
