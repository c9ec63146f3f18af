//! What children inherit, and which binaries cannot be followed.
#![allow(clippy::unwrap_used, reason = "a panic is how tests fail")]

mod harness;

use harness::{Ran, World, compiled};
use ringfence_policy::{Plane, Rule};
use ringfence_records::message::{ActionKind, Kind, Outcome};

const PYTHON: &str = "/usr/bin/python3";
const OPEN: &str = "version = 1\nmode = \"enforce\"\n[process]\nallow = [\"/**\"]\n";

#[test]
fn a_cleared_environment_does_not_shake_the_library_off() {
    let policy = "version = 1\nmode = \"enforce\"\n[process]\nallow = [\"/usr/bin/*\"]\n[files]\ndeny_read = [\"/etc/hostname\"]\n";
    let attacks = [
        "import subprocess; print(subprocess.run(['/usr/bin/env','-i','/usr/bin/cat','/etc/hostname'],capture_output=True).returncode)",
        "import subprocess; print(subprocess.run(['/usr/bin/cat','/etc/hostname'],env={},capture_output=True).returncode)",
        "import subprocess; print(subprocess.run(['/usr/bin/cat','/etc/hostname'],env={'LD_PRELOAD':'','RINGFENCE_FDS':'7,8'},capture_output=True).returncode)",
        "import subprocess; print(subprocess.run(['/usr/bin/env','-u','LD_PRELOAD','-u','RINGFENCE_FDS','/usr/bin/cat','/etc/hostname'],close_fds=True,capture_output=True).returncode)",
        "import os\nfor f in range(3,1024):\n try: os.close(f)\n except OSError: pass\nos.closerange(3,1024)\nif os.fork()==0: os.execve('/usr/bin/cat',['cat','/etc/hostname'],{})\nprint(os.waitstatus_to_exitcode(os.wait()[1]))",
        "import os,ctypes\nctypes.CDLL('libc.so.6').close_range(3,0xffffffff,0)\nif os.fork()==0: os.execve('/usr/bin/cat',['cat','/etc/hostname'],{})\nprint(os.waitstatus_to_exitcode(os.wait()[1]))",
        "import os,ctypes\nctypes.CDLL('libc.so.6').close_range(3,0xffffffff,4)\nif os.fork()==0: os.execve('/usr/bin/cat',['cat','/etc/hostname'],{})\nprint(os.waitstatus_to_exitcode(os.wait()[1]))",
        "import os,fcntl\ntry: fcntl.fcntl(961,fcntl.F_SETFD,1)\nexcept OSError: pass\nif os.fork()==0: os.execve('/usr/bin/cat',['cat','/etc/hostname'],{})\nprint(os.waitstatus_to_exitcode(os.wait()[1]))",
    ];
    let world = World::new(policy);
    for code in attacks {
        let ran = world.run(PYTHON, &["-c", code]);
        assert_eq!(ran.stdout.lines().last(), Some("1"), "{code}: {}", ran.whole());
        assert!(
            ran.saw(ActionKind::OpenRead, Outcome::Blocked, Rule::FilesDenyRead),
            "{code}: {}",
            ran.whole()
        );
    }
}

#[test]
fn children_do_not_get_what_the_policy_strips() {
    let policy = "version = 1\nmode = \"enforce\"\n[process]\nenvironment = { strip = [\"AWS_*\"] }\n";
    let world = World::new(policy).with(|world| {
        world.variables.push(("AWS_SECRET_ACCESS_KEY".into(), "secret".into()));
        world.variables.push(("KEPT".into(), "yes".into()));
    });
    let code =
        "import subprocess; print(subprocess.run(['/usr/bin/env'],capture_output=True,text=True).stdout)";
    assert!(world.bare(PYTHON, &["-c", code]).stdout.contains("AWS_SECRET_ACCESS_KEY=secret"));
    let ran = world.run(PYTHON, &["-c", code]);
    assert!(!ran.stdout.contains("AWS_SECRET") && ran.stdout.contains("KEPT=yes"), "{}", ran.whole());
    let starting = world.with(|world| {
        world.launched = false;
        world.runtime = Some(PYTHON.into());
    });
    let wrapped = starting.run("/usr/bin/env", &["/usr/bin/env"]);
    assert!(
        wrapped.stdout.contains("AWS_SECRET_ACCESS_KEY=secret"),
        "a wrapper needs them: {}",
        wrapped.whole()
    );
}

#[test]
fn a_list_of_sites_that_the_function_makes_up_is_not_believed() {
    // An empty list for this very libc: believed, it would leave the child's calls as they are.
    let code = "import os,subprocess,sys\nif len(sys.argv)<2:\n e=dict(os.environ,RINGFENCE_SITES=''); print(subprocess.run([sys.executable,'-c',sys.argv[0] and open('/proc/self/cmdline').read().split(chr(0))[2],'x'],env=e,capture_output=True,text=True).stdout.strip())\nelse:\n try: open('/proc/self/environ'); print('through')\n except OSError as e: print('refused', len(os.environ['RINGFENCE_SITES'])>100)";
    let policy = "version = 1\nmode = \"enforce\"\n[files]\ndeny_read = [\"/proc/*/environ\"]\n";
    let world = World::new(policy).with(|world| world.variables.push(("RINGFENCE_SITES".into(), ".".into())));
    assert_eq!(world.bare(PYTHON, &["-c", code]).stdout, "through");
    assert_eq!(world.run(PYTHON, &["-c", code]).stdout, "refused True");
}

#[test]
fn an_environment_of_thousands_of_variables_is_passed_on() {
    let code = "import subprocess; print(len(subprocess.run(['/usr/bin/env'],env={'V%d'%i:'x' for i in range(3000)},capture_output=True,text=True).stdout.split()))";
    let ran = World::new(OPEN).run(PYTHON, &["-c", code]);
    assert_eq!(ran.stdout, "3005", "{}", ran.whole());
}

#[test]
fn children_run_under_their_limits_and_the_runtime_does_not() {
    let policy =
        "version = 1\nmode = \"enforce\"\n[process]\nlimits = { open_files = 77, file_size = \"1MiB\" }\n";
    let code = "import subprocess,resource; print(subprocess.run(['/usr/bin/python3','-c','import resource; print(resource.getrlimit(7)[0],resource.getrlimit(1)[1])'],capture_output=True,text=True).stdout.strip(), resource.getrlimit(7)[0]>77)";
    let ran = World::new(policy).run(PYTHON, &["-c", code]);
    assert_eq!(ran.stdout, "77 1048576 True", "{}", ran.whole());
}

#[test]
fn forks_that_execute_nothing_run_under_limits_too_but_for_memory() {
    let policy = "version = 1\nmode = \"enforce\"\n[process]\nlimits = { open_files = 77, file_size = \"1MiB\", memory = \"1GiB\" }\n";
    let code = "import os,resource\nr,w=os.pipe()\nif os.fork()==0:\n open('/dev/null').close(); os.write(w,repr([resource.getrlimit(n) for n in (7,1)]).encode()); os._exit(resource.getrlimit(9)[0]==1<<30)\nprint(os.read(r,99).decode(), os.wait()[1], resource.getrlimit(7)[0]>77)";
    let ran = World::new(policy).run(PYTHON, &["-c", code]);
    assert_eq!(ran.stdout, "[(77, 77), (1048576, 1048576)] 0 True", "{}", ran.whole());
}

/// System calls by an instruction of one's own, which nothing of ours sees: `raw(number, …)`.
const RAW: &str = "import os,mmap,ctypes
area=mmap.mmap(-1,4096,prot=7)
area.write(bytes.fromhex('4889f84889f74889d64889ca4d89c24d89c84c8b4c24080f05c3'))
call=ctypes.CFUNCTYPE(ctypes.c_long,*[ctypes.c_long]*7)(ctypes.addressof(ctypes.c_char.from_buffer(area)))
raw=lambda n,*x: call(n,*[ctypes.addressof(v) if isinstance(v,ctypes.Array) else v for v in x],*[0]*(6-len(x)))
texts=lambda *t: (ctypes.c_char_p*(len(t)+1))(*t,None)
";
const GUARDED: &str = "version = 1\nmode = \"enforce\"\n[process]\nallow = [\"/usr/bin/*\"]\n[files]\ndeny_read = [\"/etc/hostname\"]\n";
const CAT: &str = "os.execve('/usr/bin/cat',['cat','/etc/hostname'],{})";

fn with_raw_calls(code: &str) -> Ran {
    World::new(GUARDED).run(PYTHON, &["-c", &format!("{RAW}{code}")])
}

#[cfg(target_arch = "x86_64")]
#[test]
fn descriptors_that_are_gone_are_found_in_the_parent() {
    let ran = with_raw_calls(&format!(
        "if os.fork()==0:\n raw(3,960); raw(3,961)\n {CAT}\nprint(os.waitstatus_to_exitcode(os.wait()[1]))"
    ));
    assert_eq!(ran.stdout, "1", "{}", ran.whole());
    assert!(ran.saw(ActionKind::OpenRead, Outcome::Blocked, Rule::FilesDenyRead), "{}", ran.whole());
}

#[cfg(target_arch = "x86_64")]
#[test]
fn nothing_starts_where_the_descriptors_are_nowhere() {
    let ran = with_raw_calls(&format!(
        "raw(3,960); raw(3,961)\nif os.fork()==0:\n try: {CAT}\n except PermissionError: os._exit(7)\nprint(os.waitstatus_to_exitcode(os.wait()[1]))"
    ));
    assert_eq!(ran.stdout, "7", "{}", ran.whole());
    assert!(ran.saw(ActionKind::Dangerous, Outcome::Blocked, Rule::SelfProtection), "{}", ran.whole());
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_program_that_finds_another_handoff_than_it_was_promised_ends_before_it_begins() {
    let start = |inodes: &str| {
        let code = format!(
            "e=[b'LD_PRELOAD='+os.environb[b'LD_PRELOAD'],b'RINGFENCE_FDS=961,960',b'RINGFENCE_REPORT='+os.environb[b'RINGFENCE_REPORT'],b'RINGFENCE_INODES={inodes}']
if os.fork()==0: raw(59,ctypes.create_string_buffer(b'/usr/bin/true'),texts(b'true'),texts(*[t for t in e if not t.endswith(b'=-')]))
print(os.waitstatus_to_exitcode(os.wait()[1]))"
        );
        with_raw_calls(&code)
    };
    assert_eq!(start("-").stdout, "0", "nothing was promised");
    for wrong in ["1,2", "", "1", "x,y"] {
        let ran = start(wrong);
        assert_eq!(ran.stdout, "126", "{wrong}: {}", ran.whole());
        assert_eq!(
            ran.stderr,
            "ringfence: this program was ended before it began: its policy did not reach it"
        );
        assert!(ran.saw(ActionKind::Dangerous, Outcome::Blocked, Rule::SelfProtection), "{}", ran.whole());
    }
}

#[test]
fn our_descriptors_take_no_command_and_what_marks_all_there_are_goes_on() {
    let code = "import fcntl,os,errno\ndef tried(f):\n try: f()\n except OSError as e: return errno.errorcode[e.errno]\nprint([tried(f) for n in (960,961) for f in (lambda: fcntl.fcntl(n,2,1),lambda: fcntl.ioctl(n,0x5451),lambda: fcntl.ioctl(n,0x5450),lambda: fcntl.fcntl(n,0,3),lambda: fcntl.fcntl(n,1030,3),lambda: os.dup2(n,5),lambda: os.dup2(0,n),lambda: os.close(n),lambda: os.set_inheritable(n,False))]+[[fcntl.fcntl(n,1) for n in (960,961)]])";
    let ran = World::new(GUARDED).run(PYTHON, &["-c", code]);
    let each = format!("{}{}", "None, ".repeat(3), "'EBADF', ".repeat(5)) + "None";
    assert_eq!(ran.stdout, format!("[{each}, {each}, [0, 0]]"), "{}", ran.whole());
}

/// BPF that answers one system call with an error and lets everything else through.
fn refusing(call: libc::c_long, error: i32) -> Vec<u8> {
    let instruction =
        |code: u16, jt: u8, jf: u8, k: u32| [&code.to_ne_bytes()[..], &[jt, jf], &k.to_ne_bytes()].concat();
    [
        instruction(0x20, 0, 0, 0),
        instruction(0x15, 0, 1, u32::try_from(call).unwrap()),
        instruction(0x06, 0, 0, 0x0005_0000 | error.unsigned_abs()),
        instruction(0x06, 0, 0, 0x7fff_0000),
    ]
    .concat()
}

#[test]
fn children_run_under_their_filter_and_the_runtime_does_not() {
    // Root may install filters without no_new_privs; elsewhere the platform has set it.
    let code = "import subprocess,os,ctypes\nctypes.CDLL(None).prctl(38,1,0,0,0)\nc='import os\\ntry: print(os.uname()[0])\\nexcept PermissionError: print(\"refused\")'\nprint(subprocess.run(['/usr/bin/python3','-c',c],capture_output=True,text=True).stdout.strip(), os.uname()[0])";
    let world = World::new(OPEN);
    assert_eq!(world.run(PYTHON, &["-c", code]).stdout, "Linux Linux");
    let ran = world
        .with(|world| world.child_filter = refusing(libc::SYS_uname, libc::EPERM))
        .run(PYTHON, &["-c", code]);
    assert_eq!(ran.stdout, "refused Linux", "{}", ran.whole());
}

/// glibc's closefrom(3) closes what is listed until nothing is; ours stay listed.
#[test]
fn all_descriptors_are_closed_where_the_kernel_cannot_close_ranges() {
    let child = "import os,ctypes\nlibc=ctypes.CDLL(None,use_errno=True)\nfor n in range(100,400): os.dup2(1,n)\nos.dup2(1,1000)\nprint(libc.close_range(2000,2001,0),end=' ')\nlibc.closefrom(3)\nprint([n for n in os.listdir('/proc/self/fd') if 3<int(n)<960 or int(n)>961])";
    let code = format!(
        "import subprocess,ctypes\nctypes.CDLL(None).prctl(38,1,0,0,0)\nprint(subprocess.run(['/usr/bin/python3','-c',{child:?}],capture_output=True,text=True,timeout=60).stdout.strip())"
    );
    let world =
        World::new(OPEN).with(|world| world.child_filter = refusing(libc::SYS_close_range, libc::ENOSYS));
    let ran = world.run(PYTHON, &["-c", &code]);
    assert_eq!(ran.stdout, "-1 []", "{}", ran.whole());
}

#[test]
fn a_static_binary_is_refused_unless_it_is_named() {
    let program =
        compiled("static", "#include <unistd.h>\nint main(){write(1,\"ran\\n\",4);return 0;}", &["-static"]);
    let code = format!(
        "import os,sys\ntry:\n print(os.spawnv(0,'{0}',['x']))\nexcept OSError as e: print(e)",
        program.display()
    );
    let world = World::new(OPEN);
    assert!(world.bare(PYTHON, &["-c", &code]).stdout.contains("ran"));
    let ran = world.run(PYTHON, &["-c", &code]);
    assert!(!ran.stdout.contains("ran"), "{}", ran.whole());
    assert!(ran.saw(ActionKind::Exec, Outcome::Blocked, Rule::ProcessUncovered), "{}", ran.whole());
    let named = World::new(&format!(
        "version = 1\nmode = \"enforce\"\n[process]\nallow = [\"{}\"]\n",
        program.display()
    ));
    assert!(named.run(PYTHON, &["-c", &code]).stdout.contains("ran"));
    let followed = World::new(OPEN).with(|world| world.strongest = Plane::Kernel);
    assert!(followed.run(PYTHON, &["-c", &code]).stdout.contains("ran"));
}

#[test]
fn nothing_runs_from_memory_from_tmp_or_through_the_loader() {
    let policy =
        "version = 1\nmode = \"enforce\"\n[process]\nallow = [\"/usr/bin/*\"]\nfrom_writable = \"deny\"\n";
    let attacks = [
        (
            "memfd",
            "import os\nf=os.memfd_create('x',0); os.write(f,open('/usr/bin/id','rb').read())\nif os.fork()==0: os.execv('/proc/self/fd/%d'%f,['id'])\nos.wait()",
            Rule::ProcessFromWritable,
        ),
        (
            "fexecve",
            "import os\nf=os.memfd_create('x'); os.write(f,open('/usr/bin/id','rb').read())\nif os.fork()==0: os.execve(f,['id'],{})\nos.wait()",
            Rule::ProcessFromWritable,
        ),
        (
            "a copy",
            "import shutil,os\nshutil.copy('/usr/bin/id','/tmp/rf-id'); os.spawnv(0,'/tmp/rf-id',['id'])",
            Rule::ProcessFromWritable,
        ),
        (
            "a script",
            "import os\nopen('/tmp/rf-s','w').write('#!/bin/sh\\necho uid='); os.chmod('/tmp/rf-s',0o755); os.spawnv(0,'/tmp/rf-s',['s'])",
            Rule::ProcessFromWritable,
        ),
        (
            "the loader",
            "import os\nos.spawnv(0,'/lib64/ld-linux-x86-64.so.2',['ld','/usr/bin/id'])",
            Rule::ProcessUncovered,
        ),
        (
            "a library",
            "import shutil,ctypes,glob,subprocess\nshutil.copy(glob.glob('/usr/lib/x86_64-linux-gnu/libz.so.1*')[0],'/tmp/rf-z.so'); ctypes.CDLL('/tmp/rf-z.so'); print('uid=')",
            Rule::ProcessFromWritable,
        ),
    ];
    let world = World::new(policy);
    for (name, code, rule) in attacks {
        let control = world.bare(PYTHON, &["-c", code]);
        assert!(
            control.stdout.contains("uid="),
            "{name} does not work without the library: {}",
            control.whole()
        );
        let ran = world.run(PYTHON, &["-c", code]);
        assert!(!ran.stdout.contains("uid="), "{name}: {}", ran.whole());
        assert!(
            ran.reports().iter().any(|report| report.outcome == Outcome::Blocked && report.rule == rule),
            "{name}: {}",
            ran.whole()
        );
    }
}

#[test]
fn a_search_along_path_leaves_no_record() {
    let code = "import os\nos.environ['PATH']='/nowhere:/sbin/none:/usr/bin'\nprint(os.spawnlp(0,'true','true'), os.spawnlp(0,'no-such-program','x'))";
    let ran = World::new("version = 1\nmode = \"enforce\"\n[process]\nallow = [\"/usr/bin/true\"]\n")
        .run(PYTHON, &["-c", code]);
    assert_eq!(ran.stdout, "0 127", "{}", ran.whole());
    assert_eq!(ran.violations(), [""; 0]);
}

#[test]
fn without_an_agent_the_record_goes_to_standard_error() {
    let policy = "version = 1\nmode = \"enforce\"\n[process]\nallow = []\n";
    let world = World::new(policy).with(|world| world.with_agent = false);
    let ran = world.run(
        PYTHON,
        &[
            "-c",
            "import subprocess\ntry: subprocess.run(['/usr/bin/id'])\nexcept OSError as e: print(e.errno)",
        ],
    );
    assert_eq!(ran.stdout, "13", "{}", ran.whole());
    let line = ran.stderr.lines().next().unwrap();
    assert!(line.starts_with("{\"timestamp\":\"") && line.ends_with('}'), "{line}");
    assert!(line.contains("ringfence blocked exec of /usr/bin/id by python3.11 (process.allow)"), "{line}");
    assert!(line.contains("\"requestId\":\"8476a536-e9f4-11e8-9739-2dfe598c3fcd\""), "{line}");
}

#[test]
fn observing_reports_and_lets_things_happen() {
    let ran = World::new("version = 1\nmode = \"observe\"\n[process]\nallow = []\n")
        .run(PYTHON, &["-c", "import os; os.system('echo through')"]);
    assert_eq!(ran.stdout, "through", "{}", ran.whole());
    assert!(ran.saw(ActionKind::Exec, Outcome::Reported, Rule::ProcessAllow), "{}", ran.whole());
}

#[test]
fn the_agent_cannot_be_signalled_nor_anyone_be_traced() {
    let mut victim = std::process::Command::new("/usr/bin/sleep").arg("60").spawn().unwrap();
    let code = "import os,signal,ctypes,sys\nP=int(sys.argv[1]); c=ctypes.CDLL('libc.so.6',use_errno=True)\ndef t(f):\n try: f(); print('done')\n except OSError as e: print(e.errno)\nt(lambda: os.kill(P,0))\nt(lambda: os.kill(P,9))\nt(lambda: signal.pidfd_send_signal(os.pidfd_open(P),9))\nprint(c.syscall(200,P,9), c.ptrace(16,P,0,0), c.process_vm_readv(P,None,0,None,0,0), c.syscall(425,1,0))";
    let world = World::new("version = 1\nmode = \"enforce\"\n").with(|world| world.agent_pid = victim.id());
    let ran = world.run(PYTHON, &["-c", code, &victim.id().to_string()]);
    assert_eq!(ran.stdout, "done\n1\n1\n-1 -1 -1 -1", "{}", ran.whole());
    assert!(victim.try_wait().unwrap().is_none(), "the agent lives");
    victim.kill().unwrap();
    victim.wait().unwrap();
    assert_eq!(ran.kinds(Kind::Violation), 5, "{}", ran.whole());
}

#[test]
fn a_sampler_may_read_its_own_memory_and_no_one_elses() {
    let code = "import os,ctypes,threading\nc=ctypes.CDLL('libc.so.6')\na=(ctypes.c_char*4)(*b'data');b=(ctypes.c_char*4)()\n\
        v=lambda t:(ctypes.c_void_p*2)(ctypes.addressof(t),4)\n\
        f=lambda p:c.process_vm_readv(p,v(b),1,v(a),1,0)\n\
        print(f(os.getpid()),b.raw,c.process_vm_writev(os.getpid(),v(a),1,v(b),1,0),f(os.getppid()))\n\
        t=threading.Thread(target=lambda:print(f(threading.get_native_id())));t.start();t.join()";
    let ran = World::new("version = 1\nmode = \"enforce\"\n").run(PYTHON, &["-c", code]);
    assert_eq!(ran.stdout, "4 b'data' 4 -1\n4", "{}", ran.whole());
    assert_eq!(ran.violations(), ["dangerous_call blocked self_protection process_vm_readv"]);
}

#[test]
fn reads_of_credentials_by_native_code_are_seen_once() {
    let program = compiled(
        "getenv",
        "#include <stdio.h>\n#include <stdlib.h>\nint main(){for(int i=0;i<3;i++)puts(getenv(\"AWS_SECRET_ACCESS_KEY\"));puts(getenv(\"HOME_X\")?\"x\":\"none\");setenv(\"HOME_X\",\"y\",1);puts(getenv(\"HOME_X\"));return 0;}",
        &[],
    );
    let world = World::new("version = 1\nmode = \"enforce\"\n[credentials]\nreads = \"report\"\n")
        .with(|world| world.variables.push(("AWS_SECRET_ACCESS_KEY".into(), "s".into())));
    let ran = world.run(program.to_str().unwrap(), &[]);
    assert_eq!(ran.stdout, "s\ns\ns\nnone\ny", "{}", ran.whole());
    assert_eq!(ran.violations(), ["read_credential reported credentials.reads AWS_SECRET_ACCESS_KEY"]);
}

#[test]
fn a_record_on_standard_error_shows_no_secret() {
    let policy = "version = 1\nmode = \"enforce\"\n[process]\nallow = []\n";
    let world = World::new(policy).with(|world| {
        world.with_agent = false;
        world
            .variables
            .push(("AWS_SECRET_ACCESS_KEY".into(), "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into()));
    });
    let code = "import os\nos.spawnv(0,'/usr/bin/curl',['curl','-d',os.environ['AWS_SECRET_ACCESS_KEY']])";
    let ran = world.run(PYTHON, &["-c", code]);
    assert!(ran.stderr.contains("blocked exec of /usr/bin/curl"), "{}", ran.whole());
    assert!(!ran.stderr.contains("wJalrXUtn"), "{}", ran.whole());
}

#[test]
fn without_an_agent_a_childs_record_goes_to_the_runtimes_standard_error() {
    let policy = "version = 1\nmode = \"enforce\"\n[process]\nallow = []\n";
    let world = World::new(policy).with(|world| world.with_agent = false);
    let code = "import subprocess\ntry: subprocess.run(['/usr/bin/id'],capture_output=True)\nexcept OSError as e: print(e.errno)";
    let ran = world.run(PYTHON, &["-c", code]);
    assert_eq!(ran.stdout, "13", "{}", ran.whole());
    assert!(ran.stderr.contains("blocked exec of /usr/bin/id"), "{}", ran.whole());
}
