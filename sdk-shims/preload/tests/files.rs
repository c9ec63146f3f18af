//! What processes read and write: each way to a file first without the library, then with it.
#![allow(clippy::unwrap_used, reason = "a panic is how tests fail")]

mod harness;

use harness::{World, compiled};
use ringfence_policy::{Phase, Rule};
use ringfence_records::message::{ActionKind, Outcome};
use ringfence_tests::skipped;

const PYTHON: &str = "/usr/bin/python3";

fn folder(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("ringfence-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn no_road_leads_to_the_environment() {
    let folder = folder("environ");
    let link = folder.join("link");
    std::os::unix::fs::symlink("/proc/self/environ", &link).unwrap();
    let roads = [
        "open('/proc/self/environ','rb').read()",
        "open('/proc/%d/environ'%os.getpid(),'rb').read()",
        "open('/proc/thread-self/environ','rb').read()",
        "open('/proc/self/task/%d/environ'%os.getpid(),'rb').read()",
        "open('/dev/fd/../environ','rb').read()",
        "open('/proc/self/root/proc/self/environ','rb').read()",
        &format!("open('{}','rb').read()", link.display()),
        "[os.chdir('/proc/self'), open('environ','rb').read()][1]",
        "os.read(os.open('environ',os.O_RDONLY,dir_fd=os.open('/proc/self',os.O_PATH)),9999)",
        "os.read(os.open('/proc/self/fd/%d'%os.open('/proc/self/environ',os.O_PATH),os.O_RDONLY),9999)",
        "(lambda c: (setattr(c.fopen,'restype',ctypes.c_void_p), c.fread(b,1,4096,ctypes.c_void_p(c.fopen(b'/proc/self/environ',b'r'))), b.raw)[2])(ctypes.CDLL('libc.so.6'))",
        "(lambda c: (c.read(c.syscall(257,-100,b'/proc/self/environ',0),b,4096), b.raw)[1])(ctypes.CDLL('libc.so.6'))",
        "(lambda c: (c.read(c.syscall(2,b'/proc/self/environ',0),b,4096), b.raw)[1])(ctypes.CDLL('libc.so.6'))",
    ];
    let world = World::new("version = 1\nmode = \"enforce\"\n[files]\ndeny_read = [\"/proc/*/environ\"]\n")
        .with(|world| world.variables.push(("MARK".into(), "taken".into())));
    for road in roads {
        let code = format!(
            "import os,ctypes\nb=ctypes.create_string_buffer(4096)\nif os.fork()==0:\n try: print(b'taken' in ({road}),flush=True)\n except PermissionError as e: print('denied',flush=True)\n os._exit(0)\nos.wait()"
        );
        let control = world.bare(PYTHON, &["-c", &code]);
        assert_eq!(control.stdout, "True", "{road} does not work without the library: {}", control.whole());
        let ran = world.run(PYTHON, &["-c", &code]);
        assert!(!ran.stdout.contains("True"), "{road}: {}", ran.whole());
        assert!(
            ran.saw(ActionKind::OpenRead, Outcome::Blocked, Rule::FilesDenyRead),
            "{road}: {}",
            ran.whole()
        );
    }
}

/// Rules on procfs alone are held after the open, so that no other file is asked about.
#[test]
fn no_road_leads_to_writing_in_procfs_and_files_elsewhere_are_written() {
    let folder = folder("procfs-written");
    let link = folder.join("link");
    std::os::unix::fs::symlink("/proc/self/comm", &link).unwrap();
    std::os::unix::fs::symlink(&link, folder.join("second")).unwrap();
    let flags = "os.O_WRONLY";
    let roads = [
        "os.open('/proc/self/comm', FLAGS)",
        "os.open('/proc/%d/comm' % os.getpid(), FLAGS)",
        "os.open('/proc/self/task/%d/comm' % os.getpid(), FLAGS)",
        "os.open('/proc/thread-self/comm', FLAGS)",
        "os.open('/dev/fd/../comm', FLAGS)",
        "os.open('/proc/self/root/proc/self/comm', FLAGS)",
        &format!("os.open('{}', FLAGS)", link.display()),
        &format!("os.open('{}/second', FLAGS | os.O_CREAT, 0o600)", folder.display()),
        "[os.chdir('/proc/self'), os.open('comm', FLAGS)][1]",
        "os.open('comm', FLAGS, dir_fd=os.open('/proc/self', os.O_PATH))",
        "os.open('/proc/self/fd/%d' % os.open('/proc/self/comm', os.O_PATH), FLAGS)",
        "ctypes.CDLL(None, use_errno=True).syscall(257, -100, b'/proc/self/comm', FLAGS)",
    ];
    let attempts = roads.iter().map(|road| (*road, flags)).chain([
        (roads[0], "os.O_RDWR"),
        (roads[0], "os.O_WRONLY | os.O_TRUNC"),
        (roads[0], "os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK"),
    ]);
    let world = World::new(
        "version = 1\nmode = \"enforce\"\n[files]\ndeny_write = [\"/proc/*/comm\", \"/proc/*/task/*/comm\"]\n",
    );
    for (threads, (road, flags)) in
        [false, true].into_iter().flat_map(|threads| attempts.clone().map(move |a| (threads, a)))
    {
        let thread =
            if threads { "threading.Thread(target=time.sleep, args=(9,), daemon=True).start()" } else { "" };
        let code = format!(
            "import os,ctypes,threading,time\n{thread}\ntry: os.write({}, b'taken')\nexcept OSError as e: pass\n\
             print(open('/proc/self/comm').read().strip())\n\
             f='{}/new'; os.close(os.open(f, os.O_WRONLY|os.O_CREAT, 0o600)); os.rename(f, f+'2'); os.unlink(f+'2'); print('elsewhere', flush=True); os._exit(0)",
            road.replace("FLAGS", flags),
            folder.display(),
        );
        let control = world.bare(PYTHON, &["-c", &code]);
        assert_eq!(
            control.stdout,
            "taken\nelsewhere",
            "{road} does not work without the library: {}",
            control.whole()
        );
        let ran = world.run(PYTHON, &["-c", &code]);
        assert_eq!(ran.stdout, "python3\nelsewhere", "{road} {flags}: {}", ran.whole());
        assert!(
            ran.saw(ActionKind::OpenWrite, Outcome::Blocked, Rule::FilesDenyWrite),
            "{road}: {}",
            ran.whole()
        );
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn bits_that_the_kernel_does_not_look_at_hide_no_number() {
    let world = World::new("version = 1\nmode = \"enforce\"\n[files]\ndeny_read = [\"/etc/hostname\"]\n");
    let code = format!(
        "import ctypes\nc=ctypes.CDLL(None,use_errno=True)\nf=c.syscall(ctypes.c_long((1<<32)+{}),ctypes.c_long(-100),b'/etc/hostname',ctypes.c_long(0))\nprint(f<0 and ctypes.get_errno())",
        libc::SYS_openat
    );
    let control = world.bare(PYTHON, &["-c", &code]).stdout;
    if control == libc::ENOSYS.to_string() {
        return skipped("this kernel looks at all bits of a number: nothing to hide behind");
    }
    assert_eq!(control, "False", "opened without the library");
    let ran = world.run(PYTHON, &["-c", &code]);
    assert_eq!(ran.stdout, libc::EACCES.to_string(), "{}", ran.whole());
}

#[test]
fn reading_the_environment_file_is_reported_as_a_read_of_credentials() {
    let code = "print(len(open('/proc/self/environ').read())>0); open('/proc/self/status').read(); open('/etc/passwd').read()";
    let world = World::new("version = 1\nmode = \"enforce\"\n[credentials]\nreads = \"report\"\n");
    let ran = world.run(PYTHON, &["-c", code]);
    assert_eq!(ran.stdout, "True", "{}", ran.whole());
    let violations = ran.violations();
    assert_eq!(violations.len(), 1, "{violations:?}");
    assert!(violations[0].starts_with("read_credential reported credentials.reads /proc/"), "{violations:?}");
}

#[test]
fn the_functions_own_code_is_readable_at_init_only() {
    let folder = folder("task");
    std::fs::write(folder.join("app.py"), "secret").unwrap();
    let file = folder.join("app.py");
    let policy =
        format!("version = 1\nmode = \"enforce\"\n[files]\ndeny_read = [\"{}/**\"]\n", folder.display());
    let code = format!("print(open('{}').read())", file.display());
    let init = World::new(&policy).with(|world| world.phase = Phase::Init).run(PYTHON, &["-c", &code]);
    assert_eq!(init.stdout, "secret", "{}", init.whole());
    let ran = World::new(&policy).run(PYTHON, &["-c", &code]);
    assert!(ran.stderr.contains("PermissionError"), "{}", ran.whole());
    assert_eq!(ran.violations(), [format!("open_read blocked files.deny_read {}", file.display())]);
}

#[test]
fn files_are_made_elsewhere_as_without_rules_on_procfs() {
    let code = "import os\ndef made(path, flags, mode=0o640, at=None):\n         try: f=os.open(path, flags|os.O_WRONLY, mode, dir_fd=at)\n         except OSError as e: return e.strerror\n         seen=os.fstat(f); os.write(f, b'x'); os.close(f)\n         return oct(seen.st_mode), seen.st_size\n\
        C,X,T=os.O_CREAT,os.O_EXCL,os.O_TRUNC\n\
        open('kept','w').write('kept'); os.mkdir('folder'); here=os.open('folder', os.O_PATH)\n\
        os.symlink('behind','dangling'); os.symlink('kept','link'); os.symlink('/proc/self/mem','memory')\n\
        for way in [('new',C),('new',C),('new',C|T),('exclusive',C|X),('exclusive',C|X),('dangling',C),('behind',C|X),\n         ('link',C),('link',C|os.O_NOFOLLOW),('slash/',C),('folder',C),('none/new',C),('kept/new',C),('',C),('strange',C,0o4751),\n         ('in',C,0o600,here),('in',C,0o600,here),('../kept',C,0o600,here),('/proc/self/none',C),('x'*300,C)]: print(way[:2], made(*way))\n\
        print(sorted(os.listdir('.')), os.listdir('folder'), open('kept').read())\n\
        try: os.open('memory', C|os.O_WRONLY); print('opened')\n\
        except PermissionError: print('denied')";
    let policy = "version = 1\nmode = \"enforce\"\n[files]\ndeny_write = [\"/proc/*/mem\"]\n";
    let run = |with: bool| {
        let folder = folder("made");
        let world = World::new(policy).with(|world| world.folder = Some(folder));
        if with { world.run(PYTHON, &["-c", code]) } else { world.bare(PYTHON, &["-c", code]) }
    };
    let (bare, held) = (run(false), run(true));
    let bare = bare.stdout.strip_suffix("opened").unwrap_or_else(|| panic!("{}", bare.whole()));
    assert_eq!(held.stdout.strip_suffix("denied"), Some(bare), "{}", held.whole());
}

#[test]
fn nothing_changes_under_a_folder_that_may_not_be_written() {
    let folder = folder("writes");
    let inside = folder.join("kept");
    std::fs::create_dir(&inside).unwrap();
    std::fs::write(inside.join("file"), "as it was").unwrap();
    std::os::unix::fs::symlink(&inside, folder.join("link")).unwrap();
    std::os::unix::fs::symlink(inside.join("dangling"), folder.join("new")).unwrap();
    std::fs::write(folder.join("other"), "x").unwrap();
    let attacks = [
        "open(K+'/file','w').write('changed')",
        "open(K+'/file','a').write('changed')",
        "open(F+'/link/file','w').write('changed')",
        "open(F+'/new','w').write('changed')",
        "os.truncate(K+'/file',0)",
        "os.rename(F+'/other',K+'/file')",
        "os.rename(K+'/file',F+'/gone')",
        "os.unlink(K+'/file')",
        "os.link(F+'/other',K+'/hard')",
        "os.link(K+'/file',F+'/hard')",
        "os.symlink('x',K+'/soft')",
        "os.mkdir(K+'/deeper')",
        "os.mknod(K+'/node')",
        "os.mkfifo(K+'/fifo')",
        "import socket; socket.socket(socket.AF_UNIX).bind(K+'/socket')",
        "os.chdir(K) or open('file','w')",
    ];
    let policy =
        format!("version = 1\nmode = \"enforce\"\n[files]\ndeny_write = [\"{}/**\"]\n", inside.display());
    let world = World::new(&policy);
    for attack in attacks {
        let code = format!("import os\nF='{}'; K=F+'/kept'\n{attack}", folder.display());
        let ran = world.run(PYTHON, &["-c", &code]);
        assert!(ran.stderr.contains("PermissionError"), "{attack}: {}", ran.whole());
        assert!(
            ran.saw(ActionKind::OpenWrite, Outcome::Blocked, Rule::FilesDenyWrite),
            "{attack}: {}",
            ran.whole()
        );
        assert_eq!(std::fs::read_to_string(inside.join("file")).unwrap(), "as it was", "{attack}");
        assert_eq!(std::fs::read_dir(&inside).unwrap().count(), 1, "{attack}");
    }
    let ran = world.run(
        PYTHON,
        &[
            "-c",
            &format!(
                "open('{}/free','w').write('x'); print(open('/dev/null','w').write('x'))",
                folder.display()
            ),
        ],
    );
    assert_eq!(ran.stdout, "1", "{}", ran.whole());
}

#[test]
fn the_sites_of_a_library_that_is_loaded_later_are_patched() {
    let source = "long reads(const char *path) {\n  long result; register long flags __asm__(\"rdx\") = 0;\n  __asm__ volatile(\"mov $257, %%eax\\n syscall\" : \"=a\"(result) : \"D\"(-100L), \"S\"(path), \"r\"(flags) : \"rcx\", \"r11\", \"memory\");\n  return result;\n}\n";
    let library = compiled("later.so", source, &["-shared", "-fPIC", "-O2"]);
    let code = format!(
        "import ctypes\nprint(ctypes.CDLL('{}').reads(b'/proc/self/environ') > 0)",
        library.display()
    );
    let world = World::new("version = 1\nmode = \"enforce\"\n[files]\ndeny_read = [\"/proc/*/environ\"]\n");
    assert_eq!(world.bare(PYTHON, &["-c", &code]).stdout, "True");
    let ran = world.run(PYTHON, &["-c", &code]);
    assert_eq!(ran.stdout, "False", "{}", ran.whole());
    assert!(ran.saw(ActionKind::OpenRead, Outcome::Blocked, Rule::FilesDenyRead), "{}", ran.whole());
}

#[test]
fn files_of_procfs_that_have_a_size_are_judged_too() {
    let code = "open('/proc/kcore','rb').close(); print('opened')";
    for pattern in ["/proc/kcore", "/proc/k*", "/proc/*"] {
        let policy = format!("version = 1\nmode = \"enforce\"\n[files]\ndeny_read = [\"{pattern}\"]\n");
        let world = World::new(&policy);
        if world.bare(PYTHON, &["-c", code]).stdout != "opened" {
            return skipped("/proc/kcore cannot be opened here");
        }
        let ran = world.run(PYTHON, &["-c", code]);
        assert!(ran.stderr.contains("PermissionError"), "{pattern}: {}", ran.whole());
    }
}

#[test]
fn another_name_makes_no_file_readable() {
    let attacks = [
        "os.rename(F+'/kept/key',F+'/x'); print(open(F+'/x').read())",
        "os.link(F+'/kept/key',F+'/x'); print(open(F+'/x').read())",
        "ctypes.CDLL(None).linkat(-100,b'/proc/self/fd/%d'%os.open(F+'/kept/key',os.O_PATH),-100,(F+'/x').encode(),0x400); print(open(F+'/x').read())",
        "os.chdir(F+'/kept'); os.rename('key','../x'); print(open('../x').read())",
        "open(F+'/x','w').close(); ctypes.CDLL(None).syscall(316,-100,(F+'/x').encode(),-100,(F+'/kept/key').encode(),2); print(open(F+'/x').read())",
        "os.rename(F+'/kept',F+'/moved'); print(open(F+'/moved/key').read())",
    ];
    for attack in attacks {
        for protected in [false, true] {
            let folder = folder("named");
            std::fs::create_dir(folder.join("kept")).unwrap();
            std::fs::write(folder.join("kept/key"), "secret").unwrap();
            let policy = format!(
                "version = 1\nmode = \"enforce\"\n[files]\ndeny_read = [\"{}/kept/**\"]\n",
                folder.display()
            );
            let code = format!("import os,ctypes\nF='{}'\n{attack}", folder.display());
            let world = World::new(&policy);
            if protected {
                let ran = world.run(PYTHON, &["-c", &code]);
                assert!(!ran.stdout.contains("secret"), "{attack}: {}", ran.whole());
                assert!(
                    ran.saw(ActionKind::OpenRead, Outcome::Blocked, Rule::FilesDenyRead),
                    "{attack}: {}",
                    ran.whole()
                );
            } else {
                let ran = world.bare(PYTHON, &["-c", &code]);
                assert_eq!(
                    ran.stdout,
                    "secret",
                    "{attack} does not work without the library: {}",
                    ran.whole()
                );
            }
        }
    }
}

#[test]
fn an_open_fits_the_stack_that_musl_gives_a_spawned_child() {
    let folder = folder("stack");
    std::fs::write(folder.join("key"), "secret").unwrap();
    let program = compiled("small_stack_opens", include_str!("programs/small_stack.c"), &["-O1"]);
    let program = program.to_str().unwrap();
    let rules = format!("deny_read = [\"{0}/key\"]\ndeny_write = [\"{0}/new*\"]\n", folder.display());
    let mut world = World::new(&format!("version = 1\nmode = \"enforce\"\n[files]\n{rules}"));
    for (how, name, status) in [("r", "key", 13), ("w", "new", 13), ("w", "other", 0), ("r", "other", 0)] {
        for with_agent in [true, false] {
            let _ = std::fs::remove_file(folder.join("other"));
            std::fs::write(folder.join("other"), "").unwrap();
            world.with_agent = with_agent;
            let ran = world.run(program, &[how, folder.join(name).to_str().unwrap()]);
            assert_eq!(ran.stdout, format!("0 {status}"), "{how} {name} {with_agent}: {}", ran.whole());
        }
    }
}
