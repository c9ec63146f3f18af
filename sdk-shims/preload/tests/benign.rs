//! Programs that do nothing wrong answer the same with the library as without it.
#![allow(clippy::unwrap_used, reason = "a panic is how tests fail")]

mod harness;

use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{World, compiled, compiled_by};
use ringfence_records::handoff::covers;

/// Every kind of rule, so that every check runs, and nothing that these programs do is denied.
const RULES: &str = "version = 1\nmode = \"enforce\"\n[process]\nallow = [\"/**\"]\n[egress]\ndeny = [\"203.0.113.1\"]\nlisten = \"loopback\"\n[files]\ndeny_read = [\"/nowhere/**\", \"/proc/*/environ\"]\ndeny_write = [\"/nowhere/**\"]\n[credentials]\nreads = \"report\"\n";

fn same(program: &str, arguments: &[&str]) {
    let world = World::new(RULES);
    let bare = world.bare(program, arguments);
    let ran = world.run(program, arguments);
    assert_eq!((ran.code, &ran.stdout), (bare.code, &bare.stdout), "{}", ran.whole());
    assert_eq!(ran.violations(), [""; 0], "{}", ran.whole());
}

#[test]
fn every_register_survives() {
    let program = compiled("registers", include_str!("programs/registers.c"), &["-O1", "-mavx2"]);
    let program = program.to_str().unwrap();
    let ran = World::new(RULES).run(program, &[]);
    let kept = "close kept\nconnect kept\ndup2 kept\nunlink kept";
    assert_eq!(World::new(RULES).bare(program, &[]).stdout, kept);
    assert_eq!(ran.stdout, kept, "{}", ran.whole());
}

#[test]
fn threads_signals_vfork_and_cancellation_go_on() {
    let program = compiled("benign", include_str!("programs/benign.c"), &["-O2", "-pthread"]);
    same(program.to_str().unwrap(), &[]);
}

/// Where one place of libc makes many calls (syscall(3), musl, glibc since 2.41), the library is asked about each.
#[test]
fn waits_end_by_a_signal_whichever_plane_decides() {
    for program in [Some(interrupted("gcc")), installed("musl-gcc").then(|| interrupted("musl-gcc"))] {
        let Some(program) = program else { continue };
        let program = program.to_str().unwrap();
        let bare = World::new(RULES).bare(program, &[]);
        let ends = |line: &str| line.ends_with(": interrupted") || line.ends_with(": cancelled");
        assert!(bare.stdout.lines().count() == 8 && bare.stdout.lines().all(ends), "{}", bare.whole());
        for kernel_covers in [0, covers::DANGEROUS, covers::EXEC | covers::EGRESS | covers::DANGEROUS] {
            let ran = World::new(RULES).with(|world| world.kernel_covers = kernel_covers).run(program, &[]);
            assert_eq!(
                (ran.code, &ran.stdout),
                (bare.code, &bare.stdout),
                "{kernel_covers}: {}",
                ran.whole()
            );
        }
    }
}

fn interrupted(compiler: &str) -> PathBuf {
    let source = include_str!("programs/interrupted.c");
    compiled_by(compiler, &format!("interrupted-{compiler}"), source, &["-pthread"])
}

fn installed(compiler: &str) -> bool {
    let found = Command::new(compiler).arg("--version").output().is_ok();
    if !found {
        eprintln!("{compiler} is not installed: not tested with it");
    }
    found
}

#[test]
fn python_serves_and_calls_itself() {
    same("/usr/bin/python3", &["-c", "
import asyncio, http.server, json, socket, sqlite3, ssl, subprocess, tempfile, threading, urllib.request, multiprocessing
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b'x'*70000)
    def log_message(self,*a): pass
s=http.server.ThreadingHTTPServer(('127.0.0.1',0),H)
threading.Thread(target=s.serve_forever,daemon=True).start()
print(sum(len(urllib.request.urlopen('http://127.0.0.1:%d/'%s.server_port).read()) for _ in range(20)))
async def main():
    r,w=await asyncio.open_connection('127.0.0.1',s.server_port)
    w.write(b'GET / HTTP/1.0\\r\\n\\r\\n'); d=await r.read(); w.close()
    p=await asyncio.create_subprocess_exec('/usr/bin/wc','-c',stdin=-1,stdout=-1)
    o,_=await p.communicate(d); return o.strip()
print(asyncio.run(main()) > b'70000')
with tempfile.TemporaryDirectory() as d:
    c=sqlite3.connect(d+'/x.db'); c.execute('create table t(a)'); c.executemany('insert into t values(?)',[(i,) for i in range(500)]); c.commit(); print(c.execute('select sum(a) from t').fetchone())
a,b=socket.socketpair(); socket.send_fds(a,[b'fd'],[a.fileno()]); print(socket.recv_fds(b,10,2)[0])
print(subprocess.check_output('echo one | sed s/one/two/ | cat',shell=True,text=True).strip())
with multiprocessing.get_context('fork').Pool(2) as p: print(p.map(abs,[-1,-2]))
"]);
}

#[test]
fn shells_and_tools_go_on() {
    same(
        "/bin/sh",
        &[
            "-c",
            "for i in 1 2 3 4 5; do echo $i | tr 1-5 a-e; done; find /etc/apt -type f | sort | head -3; (exit 7); echo $?; exec 9>/tmp/ringfence-sh; echo x >&9; exec 9>&-; cat /tmp/ringfence-sh",
        ],
    );
}

#[test]
fn node_goes_on() {
    let node = "/usr/bin/node";
    if Path::new(node).exists() {
        same(node, &["-e", "const fs=require('fs'),cp=require('child_process'),http=require('http'),{Worker}=require('worker_threads');
console.log(fs.readFileSync('/etc/hostname').length>0, cp.execSync('echo child').toString().trim());
const s=http.createServer((q,r)=>r.end('y'.repeat(100000))).listen(0,'127.0.0.1',()=>http.get({port:s.address().port,host:'127.0.0.1'},r=>{let n=0;r.on('data',d=>n+=d.length);r.on('end',()=>{console.log(n);s.close();
new Worker('require(\"worker_threads\").parentPort.postMessage(require(\"fs\").readdirSync(\"/etc\").length>0)',{eval:true}).on('message',m=>{console.log(m);console.log(cp.spawnSync('/usr/bin/tr',['a','b'],{input:'banana'}).stdout.toString())})})}));"]);
    }
}

#[test]
fn java_goes_on() {
    let java = "/usr/bin/java";
    if Path::new(java).exists() {
        let folder = std::env::temp_dir().join("ringfence-java");
        std::fs::create_dir_all(&folder).unwrap();
        let source = folder.join("Hello.java");
        std::fs::write(&source, "import java.io.*;import java.net.*;import java.nio.file.*;public class Hello{public static void main(String[] a)throws Exception{System.out.println(Files.size(Path.of(\"/etc/passwd\"))>0);var s=new ServerSocket(0,5,InetAddress.getLoopbackAddress());var t=new Thread(()->{try{s.accept().getOutputStream().write(42);}catch(IOException e){}});t.start();System.out.println(new Socket(s.getInetAddress(),s.getLocalPort()).getInputStream().read());var p=new ProcessBuilder(\"/usr/bin/tr\",\"a\",\"b\").start();p.getOutputStream().write(\"banana\".getBytes());p.getOutputStream().close();System.out.println(new String(p.getInputStream().readAllBytes()));}}").unwrap();
        same(java, &[source.to_str().unwrap()]);
    }
}
