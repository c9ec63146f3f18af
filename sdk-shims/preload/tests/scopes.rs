//! What a scope forbids holds in native code, for its thread and what that starts: each deed first outside, then inside.
#![allow(clippy::unwrap_used, reason = "a panic is how tests fail")]

mod harness;

use harness::{World, compiled};
use ringfence_policy::Rule;
use ringfence_records::message::{ActionKind, Outcome};
use ringfence_tests::skipped;

const PYTHON: &str = "/usr/bin/python3";

/// `limit(bits)` as the hooks ask for it, and native deeds past the interpreter: each is True where it was done.
const HEAD: &str = r"
import ctypes, os, sys, threading
TMP, EGRESS, CHILDREN, WHOLE = 1, 2, 4, 0x8000
libc = ctypes.CDLL(None, use_errno=True)
def limit(bits, key=0x51234567): os.kill(key, 0x52460000 | bits)
def opened(path=b'/tmp', flags=0): return libc.open(path, flags, 0o600) >= 0
own = b'/tmp/ringfence-scope-%d' % os.getpid()
def written():
    done = libc.open(own, 0o102, 0o600) >= 0
    libc.unlink(own)
    return done
def made():
    done = libc.mkdir(own, 0o700) == 0
    libc.rmdir(own)
    return done
def address(host): return (ctypes.c_ubyte * 16)(2, 0, 0, 9, *host)
def connected(host=(203, 0, 113, 9)):
    ctypes.set_errno(0)
    libc.connect(libc.socket(2, 2, 0), address(host), 16)
    return ctypes.get_errno() != 13
def sent(host=(203, 0, 113, 9)):
    ctypes.set_errno(0)
    libc.sendto(libc.socket(2, 2, 0), b'x', 1, 0, address(host), 16)
    return ctypes.get_errno() != 1
def started(command=b'true'): return libc.system(command) == 0
def spawned():
    argv = (ctypes.c_char_p * 2)(b'true', None)
    child = ctypes.c_int()
    return libc.posix_spawn(ctypes.byref(child), b'/bin/true', None, None, argv, None) == 0 and os.waitpid(child.value, 0)[1] == 0
";

fn world() -> World {
    // A policy that forbids none of this.
    World::new("version = 1\nmode = \"enforce\"\n")
}

fn said(code: &str) -> harness::Ran {
    world().run(PYTHON, &["-c", &format!("{HEAD}{code}")])
}

#[test]
fn each_limit_denies_what_it_speaks_of_and_nothing_else() {
    let deeds = [
        ("opened()", "TMP", ActionKind::OpenRead, Rule::TmpWrites),
        ("written()", "TMP", ActionKind::OpenWrite, Rule::TmpWrites),
        ("opened(b'/var/../tmp/.', 0)", "TMP", ActionKind::OpenRead, Rule::TmpWrites),
        ("made()", "TMP", ActionKind::OpenWrite, Rule::TmpWrites),
        ("connected()", "EGRESS", ActionKind::Connect, Rule::EgressAllow),
        ("sent()", "EGRESS", ActionKind::Send, Rule::EgressAllow),
        ("started()", "CHILDREN", ActionKind::Exec, Rule::ProcessAllow),
        ("spawned()", "CHILDREN", ActionKind::Exec, Rule::ProcessAllow),
    ];
    for (deed, own, action, rule) in deeds {
        for limit in ["TMP", "EGRESS", "CHILDREN"] {
            let ran = said(&format!("print({deed}); limit({limit}); print({deed}); limit(0); print({deed})"));
            let expected = ["True", if limit == own { "False" } else { "True" }, "True"].join("\n");
            assert_eq!(ran.stdout, expected, "{deed} under {limit}: {}", ran.whole());
            assert_eq!(
                ran.saw(action, Outcome::Blocked, rule),
                limit == own,
                "{deed} under {limit}: {}",
                ran.whole()
            );
        }
    }
}

#[test]
fn loopback_stays_open() {
    let ran = said("limit(EGRESS); print(connected((127, 0, 0, 1)), sent((127, 0, 0, 1)))");
    assert_eq!(ran.stdout, "True True", "{}", ran.whole());
}

#[test]
fn look_ups_are_beyond_the_machine_even_where_a_local_resolver_passes_them_on() {
    let world = world().with(|world| {
        world.resolver = Some("127.0.0.1:5353".parse().unwrap());
        world.name_server = Some("127.0.0.53:53".parse().unwrap());
    });
    let asked = "def ask(host, port):\n    ctypes.set_errno(0)\n    a = address(host); a[2], a[3] = port >> 8, port & 255\n    libc.connect(libc.socket(2, 2, 0), a, 16)\n    return ctypes.get_errno()\n";
    let code = format!(
        "{HEAD}{asked}print(ask((127,0,0,53),53), ask((127,0,0,1),5353))\nlimit(EGRESS); print(ask((127,0,0,53),53), ask((127,0,0,1),5353))"
    );
    let ran = world.run(PYTHON, &["-c", &code]);
    assert_eq!(ran.stdout, "0 0\n13 13", "{}", ran.whole());
}

#[test]
fn a_scope_is_its_threads_and_of_the_threads_it_makes() {
    let ran = said(
        r"
ready, go = threading.Event(), threading.Event()
before = []
def other():
    ready.set(); go.wait(); before.append((opened(), started()))
thread = threading.Thread(target=other); thread.start(); ready.wait()
limit(TMP | CHILDREN)
go.set(); thread.join()
inside = []
thread = threading.Thread(target=lambda: inside.append((opened(), started()))); thread.start(); thread.join()
print(before, inside, (opened(), started()))
limit(0)
# A thread that begins where a limited one has ended has its place in memory, and not its limits.
later = []
for _ in range(4):
    thread = threading.Thread(target=lambda: later.append(opened())); thread.start(); thread.join()
print(later, opened())
",
    );
    assert_eq!(
        ran.stdout,
        "[(True, True)] [(False, False)] (False, False)\n[True, True, True, True] True",
        "{}",
        ran.whole()
    );
}

#[test]
fn children_are_started_with_the_scope_and_cannot_leave_it() {
    let child = "import ctypes,os; libc=ctypes.CDLL(None); print(libc.open(b'/tmp',0)>=0, libc.open(b'/etc',0)>=0, flush=True)";
    let grandchild = format!("import os; os.execve('/usr/bin/python3', ['python3','-c',{child:?}], {{}})");
    for code in [child, &grandchild] {
        for start in [
            format!("os.spawnv(os.P_WAIT, '{PYTHON}', ['python3', '-c', {code:?}])"),
            format!("os.posix_spawn('{PYTHON}', ['python3', '-c', {code:?}], {{}}); os.wait()"),
            format!(
                "__import__('subprocess').run(['{PYTHON}', '-c', {code:?}], env={{'RINGFENCE_FDS': '961,960'}})"
            ),
        ] {
            let ran = said(&format!("{start}\nlimit(TMP)\n{start}\nlimit(0)\n{start}"));
            assert_eq!(ran.stdout, "True True\nFalse True\nTrue True", "{start}: {}", ran.whole());
        }
    }
    let loosen = "os.kill(0x51234567, 0x52460000)";
    let code =
        format!("import os,ctypes\ntry: {loosen}\nfinally: print(ctypes.CDLL(None).open(b'/tmp',0)>=0)");
    let ran = said(&format!("limit(TMP); os.spawnv(os.P_WAIT, '{PYTHON}', ['python3', '-c', {code:?}])"));
    assert_eq!(ran.stdout, "False", "{}", ran.whole());
}

#[test]
fn what_could_not_be_held_to_a_scope_is_not_started_in_one() {
    let program = compiled("static-scope", "int main(void) { return 0; }", &["-static"]);
    let policy = format!("version = 1\n[process]\nallow = [\"{0}\", \"/**\"]\n", program.display());
    let code = format!(
        "{HEAD}run = lambda: libc.system(b'{}') == 0\nprint(run()); limit(EGRESS); print(run(), started())",
        program.display()
    );
    let ran = World::new(&policy).run(PYTHON, &["-c", &code]);
    assert_eq!(ran.stdout, "True\nFalse True", "{}", ran.whole());
}

#[test]
fn a_whole_process_is_limited_for_good() {
    let ran = said(
        r"
limit(WHOLE | TMP)
limit(0)
limit(WHOLE)
inside = []
thread = threading.Thread(target=lambda: inside.append(opened())); thread.start(); thread.join()
print(opened(), inside, started(b'ls /tmp >/dev/null 2>&1'), started())
",
    );
    assert_eq!(ran.stdout, "False [False] False True", "{}", ran.whole());
}

#[test]
fn a_request_needs_the_key_of_the_first_and_is_a_signal_to_nobody() {
    let ran = said(
        r"
limit(TMP)
try: limit(0, key=0x51234568); print('loosened')
except PermissionError: print('refused', opened())
",
    );
    assert_eq!(ran.stdout, "refused False", "{}", ran.whole());
    let bare = world().bare(PYTHON, &["-c", &format!("{HEAD}limit(TMP)")]);
    assert!(bare.stderr.contains("ProcessLookupError"), "{}", bare.whole());
}

#[test]
fn where_the_kernel_plane_decides_scopes_hold_all_the_same() {
    let world = world().with(|world| {
        world.strongest = ringfence_policy::Plane::Kernel;
        world.kernel_covers = 31;
    });
    let code =
        format!("{HEAD}limit(7); print(opened(), written(), connected(), sent(), started(), spawned())");
    let ran = world.run(PYTHON, &["-c", &code]);
    assert_eq!(ran.stdout, "False False False False False False", "{}", ran.whole());
}

/// The Python hook speaks for its scopes; deeds are native all the same.
fn said_with_the_hook(code: &str) -> harness::Ran {
    let hook = concat!(env!("CARGO_MANIFEST_DIR"), "/../python");
    let world = world().with(|world| {
        world.variables.push(("PYTHONPATH".into(), hook.into()));
        world.variables.push(("PYTHONDONTWRITEBYTECODE".into(), "1".into()));
    });
    let head = "import asyncio, ringfence\nfrom concurrent.futures import ThreadPoolExecutor\nscope = ringfence.scope\n";
    world.run(PYTHON, &["-c", &format!("{HEAD}{head}{code}")])
}

#[test]
fn pythons_scopes_hold_in_native_code_and_nest() {
    let ran = said_with_the_hook(
        r"
all = lambda: (opened(), connected(), started())
print(*all())
with scope(tmp='deny'):
    print(*all())
    with scope(egress='deny', tmp='allow'):
        print(*all())
        with scope(children='report'): print(*all())
    print(*all())
try:
    with scope(children='deny'):
        print(*all())
        raise ValueError
except ValueError: print(*all())
print(*scope(egress='deny')(all)())
print(*all())
",
    );
    let expected = "True True True\nFalse True True\nFalse False True\nFalse False True\nFalse True True\nTrue True False\nTrue True True\nTrue False True\nTrue True True";
    assert_eq!(ran.stdout, expected, "{}", ran.whole());
    assert!(ran.saw(ActionKind::Connect, Outcome::Blocked, Rule::EgressAllow), "{}", ran.whole());
}

#[test]
fn pythons_threads_and_pools_have_the_scope_that_they_work_for() {
    let ran = said_with_the_hook(
        r"
pool = ThreadPoolExecutor(1)
with scope(tmp='deny'):
    # Its thread is started in the scope and outlives it.
    print(pool.submit(opened).result(), opened())
    inside = []
    thread = threading.Thread(target=lambda: inside.append(opened())); thread.start(); thread.join()
    print(inside)
print(pool.submit(opened).result(), opened())
entered, leave = threading.Event(), threading.Event()
def limited():
    with scope(tmp='deny'):
        entered.set(); leave.wait()
other = threading.Thread(target=limited); other.start(); entered.wait()
print(opened(), pool.submit(opened).result()); leave.set(); other.join()
",
    );
    assert_eq!(ran.stdout, "False False\n[False]\nTrue True\nTrue True", "{}", ran.whole());
}

#[test]
fn pythons_tasks_are_limited_each_for_itself() {
    let ran = said_with_the_hook(
        r"
async def inside(turns):
    with scope(tmp='deny'):
        for _ in range(turns):
            yield_to = await asyncio.sleep(0)
            found.append(('in', opened()))
        found.append(('in', await asyncio.to_thread(opened)))
async def outside(turns):
    for _ in range(turns):
        await asyncio.sleep(0)
        found.append(('out', opened()))
        found.append(('out', await asyncio.to_thread(opened)))
async def main():
    await asyncio.gather(inside(20), outside(20), inside(20), outside(20))
    found.append(('out', opened()))
found = []
asyncio.run(main())
print(sorted(set(found)), len(found))
with scope(tmp='deny'):
    found = []
    asyncio.run(outside(5))
print(sorted(set(found)), opened())
",
    );
    assert_eq!(ran.stdout, "[('in', False), ('out', True)] 123\n[('out', False)] True", "{}", ran.whole());
}

#[test]
fn pythons_children_inherit_the_scope_and_configure_is_for_all() {
    let child = "import ctypes; print(ctypes.CDLL(None).open(b'/tmp',0)>=0, flush=True)";
    let ran = said_with_the_hook(&format!(
        r"
import subprocess
run = lambda **more: subprocess.run(['{PYTHON}', '-S', '-c', {child:?}], **more)
run()
with scope(tmp='deny'): run(); run(env={{}}); run(close_fds=False)
run()
ringfence.configure(read_write_tmp='block')
run()
thread = threading.Thread(target=lambda: print(opened())); thread.start(); thread.join()
"
    ));
    assert_eq!(ran.stdout, "True\nFalse\nFalse\nFalse\nTrue\nFalse\nFalse", "{}", ran.whole());
}

/// Children are native from their start, so they show what Node's hook has told the library.
#[test]
fn nodes_children_inherit_the_scope_that_starts_them() {
    let Some(node) =
        ["/usr/bin/node", "/usr/local/bin/node"].into_iter().find(|node| std::path::Path::new(node).exists())
    else {
        return skipped("no node in /usr/bin or /usr/local/bin");
    };
    let hook = concat!(env!("CARGO_MANIFEST_DIR"), "/../node");
    let code = format!(
        r"
const {{ scope }} = require('{hook}/scopes.cjs');
const {{ execFileSync, execFile }} = require('child_process');
const fs = require('fs');
const child = ['-c', `import ctypes; print(ctypes.CDLL(None).open(b'/tmp',0)>=0)`];
const run = () => execFileSync('{PYTHON}', child, {{ encoding: 'utf8', env: {{}} }}).trim();
const later = () => new Promise((ok) => execFile('{PYTHON}', child, {{ env: {{}} }}, (error, out) => ok(out.trim())));
const outside = () => {{ fs.readdirSync('/tmp'); return 'read'; }};
(async () => {{
  console.log(run(), outside());
  console.log(scope({{ tmp: 'deny' }}, run), run(), outside());
  const slow = scope({{ tmp: 'deny' }}, async () => {{ await new Promise(setImmediate); return [await later(), await later(), run()]; }});
  console.log(await later(), outside(), ...(await slow), run());
  console.log(await scope({{ tmp: 'deny' }}, async () => scope({{ egress: 'deny' }}, later)), (await fs.promises.readdir('/tmp')).length >= 0);
}})();
"
    );
    let world = world().with(|world| {
        world.variables.push(("NODE_OPTIONS".into(), format!("--require {hook}/ringfence.cjs")));
        // The number of a socket to the agent: none, as far as the hook can tell.
        world.variables.push(("RINGFENCE_REPORT_FD".into(), "950".into()));
    });
    let ran = world.run(node, &["-e", &code]);
    let expected = "True read\nFalse True read\nTrue read False False False True\nFalse true";
    assert_eq!(ran.stdout, expected, "{}", ran.whole());
}

#[test]
fn what_is_asked_by_raise_ends_for_the_threads_made_in_it_too() {
    // As the Java hook does: a mark, 26 bits of key, three of limits.
    let ran = said(
        r"
def ask(bits, key=0x1234567): getattr(libc, 'raise')(0x40000000 | key << 4 | bits)
go, asked, found = threading.Event(), threading.Event(), []
def other():
    found.append((opened(), started())); asked.set(); go.wait(); found.append((opened(), started()))
print(opened(), started())
ask(TMP | CHILDREN)
thread = threading.Thread(target=other); thread.start(); asked.wait()
ask(TMP, key=1)
print(opened(), started())
ask(TMP)
print(opened(), started())
ask(0); go.set(); thread.join()
print(opened(), started(), found)
ask(8 | CHILDREN); ask(0)
print(opened(), started())
",
    );
    let expected =
        ["True True", "False False", "False True", "True True [(False, False), (True, True)]", "True False"];
    assert_eq!(ran.stdout, expected.join("\n"), "{}", ran.whole());
}
