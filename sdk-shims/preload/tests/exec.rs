//! Programs that start programs: each way out of a process first without the library, then with it.
#![allow(clippy::unwrap_used, reason = "a panic is how tests fail")]

mod harness;

use harness::{World, compiled};
use ringfence_policy::Rule;
use ringfence_records::message::{ActionKind, Kind, Outcome};

const PYTHON: &str = "/usr/bin/python3";
const NO_SHELL: &str =
    "version = 1\nmode = \"enforce\"\n[process]\nallow = [\"/usr/bin/*\"]\nshells = \"deny\"\n";

#[test]
fn the_runtime_says_that_it_is_up() {
    let ran = World::new(NO_SHELL).run(PYTHON, &["-c", "print('hello')"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "hello"), "{}", ran.whole());
    assert_eq!(ran.kinds(Kind::RuntimeUp), 1, "{}", ran.whole());
}

#[test]
fn every_way_to_a_shell_is_closed() {
    let attacks = [
        ("os.system", "import os; print(os.system('echo through'))"),
        (
            "subprocess",
            "import subprocess; print(subprocess.run(['/bin/sh','-c','echo through'],capture_output=True).stdout)",
        ),
        (
            "posix_spawn",
            "import os; p=os.posix_spawn('/bin/sh',['sh','-c','echo through'],{}); print(os.waitpid(p,0))",
        ),
        ("popen", "import os; print(os.popen('echo through').read())"),
        ("execv", "import os; os.execv('/bin/sh',['sh','-c','echo through'])"),
        (
            "the handle of libc",
            "import ctypes,os\nc=ctypes.CDLL('libc.so.6')\na=(ctypes.c_char_p*4)(b'sh',b'-c',b'echo through',None)\nif os.fork()==0:\n c.execv(b'/bin/sh',a); os._exit(1)\nos.wait()",
        ),
        (
            "syscall()",
            "import ctypes,os\nc=ctypes.CDLL('libc.so.6')\na=(ctypes.c_char_p*4)(b'sh',b'-c',b'echo through',None)\nif os.fork()==0:\n c.syscall(59,b'/bin/sh',a,None); os._exit(1)\nos.wait()",
        ),
        (
            "execveat",
            "import ctypes,os\nc=ctypes.CDLL('libc.so.6')\na=(ctypes.c_char_p*4)(b'sh',b'-c',b'echo through',None)\nf=os.open('/bin/sh',os.O_RDONLY)\nif os.fork()==0:\n c.execveat(f,b'',a,None,0x1000); os._exit(1)\nos.wait()",
        ),
        (
            "a link",
            "import os; os.symlink('/bin/sh','/tmp/rf-link-%d'%os.getpid()); print(os.spawnv(0,'/tmp/rf-link-%d'%os.getpid(),['x','-c','echo through']))",
        ),
    ];
    let world = World::new(NO_SHELL);
    for (name, code) in attacks {
        let control = world.bare(PYTHON, &["-c", code]);
        assert!(
            control.stdout.contains("through"),
            "{name} does not work without the library: {}",
            control.whole()
        );
        let ran = world.run(PYTHON, &["-c", code]);
        assert!(!ran.stdout.contains("through"), "{name}: {}", ran.whole());
        let blocked = |rule| ran.saw(ActionKind::Exec, Outcome::Blocked, rule);
        assert!(blocked(Rule::ProcessShells) || blocked(Rule::ProcessAllow), "{name}: {}", ran.whole());
    }
}

#[test]
fn an_exec_fits_the_stack_that_musl_gives_it_refused_or_not() {
    let program = compiled("small_stack", include_str!("programs/small_stack.c"), &["-O1"]);
    let program = program.to_str().unwrap();
    let rules = "from_writable = \"deny\"\n[credentials]\nexpose = \"runtime\"\n";
    for (shells, more, status) in [("deny", "", 77), ("report", "", 0), ("allow", rules, 0), ("allow", "", 0)]
    {
        for (variables, with_agent) in [("0", true), ("80", true), ("80", false), ("1000", true)] {
            let policy = format!("version = 1\nmode = \"enforce\"\n[process]\nshells = \"{shells}\"\n{more}");
            let world = World::new(&policy).with(|world| world.with_agent = with_agent);
            let ran = world.run(program, &["/bin/sh", variables]);
            let expected = format!("0 {status}");
            assert_eq!(
                ran.stdout, expected,
                "bytes below the stack, and the child's status: {policy} {variables} {with_agent}"
            );
        }
    }
}
