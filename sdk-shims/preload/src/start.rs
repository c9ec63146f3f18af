//! The constructor: find the two pages, believe them or stay out, patch libc, tell the agent.
//!
//! It runs before the program, in the only thread. Where the environment does not name our descriptors, or what they
//! hold is not valid, nothing is patched and nothing is claimed.

use core::net::{Ipv4Addr, SocketAddr};
use core::sync::atomic::AtomicU32;

use ringfence_policy::CompiledPolicy;
use ringfence_records::claim;
use ringfence_records::handoff::{
    self, DIRECT, ENVIRONMENT, Handoff, INVOKED, MAX_COMMAND_LINE, MAX_SIZE, PROXY, SCOPE,
};
use ringfence_records::message::{Kind, address_of_proxy};
use ringfence_records::page::{SIZE, View, WORDS};

use crate::children::Mark;
use crate::loaded::Text;
use crate::patch::Places;
use crate::remembered::{self, Remembered};
use crate::state::{self, Descriptor, Rules, State};
use crate::sys::Errno;
use crate::table::{Key, Table};
use crate::{handler, loaded, memory_calls, passing, patch, pins, report, scope, shielded, sys, table};

/// Variable by which children find the report socket.
const REPORT: &[u8] = b"RINGFENCE_REPORT";

/// Where a runtime's client finds its API.
const API: &[u8] = b"AWS_LAMBDA_RUNTIME_API";
/// Longest value of our own variable.
const LONGEST: usize = 96;

/// What the process's environment says to us.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Told {
    descriptors: Option<[i32; 2]>,
    /// Whether init was over when this process began.
    invoked: bool,
    /// Whether a fork of the runtime started the program.
    direct: bool,
    /// Limits of the scope in which the program was started.
    scope: u32,
    /// Port of the runtime's proxy, as the process that started this program knew it; 0 for none.
    proxy: u16,
    /// Port of the proxy that the program's own environment names; 0 for none.
    api: u16,
    /// Which files the descriptors are; that they are told says that nothing runs without them.
    inodes: Inodes,
    /// Name of the agent's report socket, for a process that gets no further than this.
    report: &'static [u8],
    /// Sites that a process of the same libc has found.
    sites: &'static [u8],
}

/// What the environment says of the files behind the descriptors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Inodes {
    /// Nothing: whoever started this process could not or would not hold it to them.
    #[default]
    Untold,
    /// Something that is no pair of numbers.
    Garbled,
    Told([u64; 2]),
}

/// Starts the library in a process whose environment is `environment`, a vector of pointers.
pub(crate) fn start(environment: usize) {
    let told = told(environment);
    let is_held = told.inodes != Inodes::Untold;
    let Some(mut state) = inherited(&told).and_then(load) else {
        if is_held {
            passing::end(told.report, b"its policy did not reach it");
        }
        return;
    };
    state.proxy = proxy(&state, &told);
    state.is_direct = told.direct;
    state.wraps = state.runs_runtimes_file() && is_wrapper(state.handoff.command).unwrap_or(false);
    let patched = patch_libc(&mut state, told.sites);
    if is_held && patched == Patched::Refused {
        passing::end(told.report, b"there is no memory for the library to work in");
    }
    let state = state::publish(state);
    if told.invoked {
        state::note_invoked();
    }
    scope::limit_all(told.scope);
    if patched != Patched::All {
        report::degraded(state, claim::UNPATCHED);
    }
    if state.is_runtime() {
        report::notice(state, Kind::RuntimeUp);
    } else {
        remembered::note_company();
    }
}

/// The two descriptors, where they are the files that they have to be: those of an ancestor where this process's are not.
fn inherited(told: &Told) -> Option<[i32; 2]> {
    let numbers = told.descriptors?;
    let Inodes::Told([handoff, page]) = told.inodes else {
        return (told.inodes == Inodes::Untold).then_some(numbers);
    };
    let [first, second] = numbers;
    Some([found(first, handoff)?, found(second, page)?])
}

fn found(number: i32, inode: u64) -> Option<i32> {
    if sys::identity(number).is_ok_and(|file| file.inode == inode) {
        return Some(number);
    }
    passing::of_an_ancestor(Descriptor { number, inode }).map(|file| file.number)
}

fn told(environment: usize) -> Told {
    let mut told = Told::default();
    let variables = (0_usize..1 << 18)
        .map_while(|index| sys::word_at(environment.wrapping_add(index * 8)).filter(|pointer| *pointer != 0));
    for variable in variables {
        if let Some(value) = value_of(variable, ENVIRONMENT.as_bytes(), LONGEST)
            && let Ok(value) = core::str::from_utf8(value)
        {
            let Told { descriptors, invoked, direct, scope, proxy, .. } = tell(value);
            told = Told { descriptors, invoked, direct, scope, proxy, ..told };
        } else if let Some(value) = value_of(variable, API, LONGEST) {
            let proxy = core::str::from_utf8(value).ok().and_then(address_of_proxy);
            told.api = proxy.map_or(0, |proxy| proxy.port());
        } else if let Some(value) = value_of(variable, passing::VARIABLE, 64) {
            let inodes = core::str::from_utf8(value).ok().and_then(passing::inodes);
            told.inodes = inodes.map_or(Inodes::Garbled, Inodes::Told);
        } else if let Some(value) = value_of(variable, REPORT, 160) {
            told.report = value;
        } else if let Some(value) = value_of(variable, table::VARIABLE, table::ROOM) {
            told.sites = value;
        }
    }
    told
}

/// The value of the variable at `variable`, where it has this name and is not longer than `limit`.
fn value_of(variable: usize, name: &[u8], limit: usize) -> Option<&'static [u8]> {
    let starts = (variable..).zip(name).all(|(at, byte)| sys::bytes_at(at, 1) == Some(&[*byte]));
    if !starts {
        return None;
    }
    sys::string_at(variable + name.len(), limit)?.strip_prefix(b"=")
}

/// The port of a proxy in front of the Runtime API. The runtime's own environment names it, as long as wrappers may run; to
/// all others the library hands it on, whatever environment the function gives them.
fn proxy(state: &State, told: &Told) -> u16 {
    let launches = state.started_as == state.handoff.runtime_pid && !told.invoked;
    let named = SocketAddr::from((Ipv4Addr::LOCALHOST, told.api));
    if launches && told.api != 0 && !state.handoff.leads_to_api(named) { told.api } else { told.proxy }
}

/// The variable's value: `handoff,state`, perhaps `invoked`, perhaps a proxy, and perhaps `scope=` and its limits.
fn tell(value: &str) -> Told {
    let (value, scope) =
        value.split_once(SCOPE).map_or((value, Ok(0)), |(before, limits)| (before, limits.parse()));
    let (value, proxy) = value.split_once(PROXY).unwrap_or((value, ""));
    let direct = value.strip_suffix(DIRECT);
    let value = direct.unwrap_or(value);
    let pages = value.strip_suffix(INVOKED);
    // Limits that cannot be read are all of them.
    Told {
        descriptors: descriptors(pages.unwrap_or(value)),
        invoked: pages.is_some(),
        direct: direct.is_some(),
        scope: scope.unwrap_or(u32::MAX),
        proxy: proxy.parse().unwrap_or(0),
        ..Told::default()
    }
}

/// `handoff,state` in decimal.
fn descriptors(value: &str) -> Option<[i32; 2]> {
    let (handoff, page) = value.split_once(',')?;
    let number = |text: &str| text.parse().ok().filter(|number| *number > 2);
    Some([number(handoff)?, number(page)?])
}

fn load([handoff, page]: [i32; 2]) -> Option<State> {
    let handoff = Descriptor { number: handoff, inode: sys::identity(handoff).ok()?.inode };
    let page = Descriptor { number: page, inode: sys::identity(page).ok()?.inode };
    let handoff_bytes = map_handoff(handoff.number)?;
    let words = map_page(page.number)?;
    let decoded = Handoff::decode(handoff_bytes)?;
    let policy = CompiledPolicy::new(decoded.policy_bytes).ok()?;
    let executable = executable().unwrap_or_default();
    let (is_node, compiles) = kind().unwrap_or_default();
    let library = library(&decoded);
    let is_runtime = decoded.runtime_pid == sys::process_id();
    let fork_mark = is_runtime.then(|| Mark::new(&policy, decoded.concurrent)).flatten();
    let rules = Rules::of(&policy, decoded.kernel_covers);
    Some(State {
        handoff: decoded,
        handoff_bytes,
        policy,
        words,
        descriptors: [handoff, page],
        started_as: sys::process_id(),
        executable,
        library,
        proc_device: proc_device(),
        proxy: 0,
        wraps: false,
        is_direct: false,
        is_node,
        compiles,
        rules,
        remembered: rules.read_elsewhere().then(|| Remembered::new(page.number)).flatten(),
        fork_mark,
        sites: Table::new(),
    })
}

/// The handoff, sealed so that nobody can change or shorten it under us.
fn map_handoff(file: i32) -> Option<&'static [u8]> {
    const F_GET_SEALS: usize = 1034;
    const SHRINK_AND_WRITE: usize = 2 | 8;
    let seals = sys::control(file, F_GET_SEALS, 0).ok()?;
    let size = usize::try_from(sys::identity(file).ok()?.size).ok()?;
    let sound = seals & SHRINK_AND_WRITE == SHRINK_AND_WRITE && (1..=MAX_SIZE).contains(&size);
    if sound { sys::map_shared(file, size).ok() } else { None }
}

fn map_page(file: i32) -> Option<&'static [AtomicU32]> {
    let size = usize::try_from(sys::identity(file).ok()?.size).ok()?;
    let words = if size >= SIZE { sys::map_words(file, WORDS).ok()? } else { return None };
    View::new(words).map(|_| words)
}

/// The library's own file, by the path that the handoff gives.
fn library(handoff: &Handoff<'_>) -> Option<sys::Identity> {
    let mut path = [0; 1024];
    path.get_mut(..handoff.preload_path.len())?.copy_from_slice(handoff.preload_path);
    passing::identity_at(path.get(..=handoff.preload_path.len())?)
}

fn executable() -> Option<sys::Identity> {
    let file = sys::open_at(sys::CWD, b"/proc/self/exe\0", sys::O_PATH | sys::O_CLOEXEC).ok()?;
    sys::identity(file.0).ok()
}

/// Whether this process's command line is that of a wrapper before `command`. A line that is too long is not taken for one.
#[inline(never)]
fn is_wrapper(command: &[u8]) -> Result<bool, Errno> {
    let file = sys::open_at(sys::CWD, b"/proc/self/cmdline\0", sys::O_CLOEXEC)?;
    let mut room = sys::Buffer::new(MAX_COMMAND_LINE)?;
    let room = room.bytes();
    let mut length = 0;
    while let Some(rest) = room.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match sys::read(file.0, rest)? {
            0 => return Ok(handoff::is_wrapper(room.get(..length).unwrap_or_default(), command)),
            count => length += count,
        }
    }
    Ok(false)
}

fn proc_device() -> u64 {
    sys::open_at(sys::CWD, b"/proc\0", sys::O_PATH | sys::O_CLOEXEC)
        .and_then(|folder| sys::identity(folder.0))
        .map_or(0, |identity| identity.device)
}

/// Whether the executable is Node, and whether it is one that compiles code in memory.
#[inline(never)]
fn kind() -> Result<(bool, bool), Errno> {
    let mut path = [0; 512];
    let path = sys::read_link(sys::CWD, b"/proc/self/exe\0", &mut path)?;
    Ok((path.ends_with(b"/node"), memory_calls::is_compiler(path)))
}

/// Whether text may be written to here. On its own, so that the path is not on the stack with all sites of libc.
#[inline(never)]
fn may_patch(state: &State) -> bool {
    let mut path = [0; 1024];
    state.own_path(&mut path).is_some_and(patch::is_permitted)
}

/// What came of patching libc and the loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patched {
    All,
    /// Nothing is understood, or the platform lets no text be patched: here as everywhere.
    Nothing,
    /// Memory was refused: in this process only, by a limit of its own.
    Refused,
}

/// Patches libc and the loader. `listed` is what another process of the same libc has found.
fn patch_libc(state: &mut State, listed: &[u8]) -> Patched {
    let wanted = Wanted::of(state);
    // The function's configuration is no source: the runtime searches for itself.
    let listed = if state.started_as == state.handoff.runtime_pid { &[][..] } else { listed };
    // A list comes from a process that has patched: the platform lets it be done.
    if listed.is_empty() && !may_patch(state) {
        return Patched::Nothing;
    }
    let (mut sites, mut sound) = (0, true);
    shielded::add(state.handoff_bytes.as_ptr() as usize, state.handoff_bytes.len());
    shielded::add(state.words.as_ptr() as usize, size_of_val(state.words));
    loaded::each_object(|name, base| {
        let Some(text) = loaded::text_of(base) else { return };
        if name == state.handoff.preload_path {
            let whole = loaded::whole(base).unwrap_or((text.address, text.length));
            shielded::add(whole.0, whole.1);
        } else if loaded::is_libc(name) {
            if loaded::is_musl(name) {
                pins::note_unseen_clones();
            }
            match patch_one(text, base, wanted, listed, &mut state.sites) {
                Ok(count) => sites += count,
                Err(_) => sound = false,
            }
        }
    });
    match (sound, sites) {
        (false, _) => Patched::Refused,
        (true, 0) => Patched::Nothing,
        (true, _) => Patched::All,
    }
}

/// Patches one object: its sites as they are listed, or, where they are not or something else is there, as a search
/// finds them.
fn patch_one(
    text: Text,
    base: usize,
    wanted: Wanted,
    listed: &[u8],
    table: &mut Table,
) -> Result<usize, Errno> {
    let numbers = |call: usize| wanted.has(call);
    let Some(build) = loaded::build_id(base) else { return patch::patch(text, numbers) };
    let key = Key { build, length: text.length, wants: wanted.bits() };
    let known = table::listed(listed, key).map(|calls| Places::confirmed(text, numbers, calls));
    let places = known.filter(|places| places.count() > 0).unwrap_or_else(|| Places::found(text, numbers));
    table.add(key, places.calls());
    patch::apply(text, &places)
}

/// Which calls are taken over in this process.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    in_runtime: bool,
}

impl Wanted {
    fn of(state: &State) -> Self {
        // A shell's wget writes its requests by write(2), as runtimes' clients do.
        Self { in_runtime: state.started_as == state.handoff.runtime_pid || state.asks_for_runtime() }
    }

    fn has(self, call: usize) -> bool {
        handler::wants(call)
            || (self.in_runtime && handler::wants_in_runtime(call))
            || handler::changes_names(call)
    }

    fn bits(self) -> u32 {
        u32::from(self.in_runtime)
    }
}

#[cfg(all(panic = "abort", not(test)))]
mod constructor {
    #![allow(unsafe_code, reason = "an entry of .init_array is what makes a function a constructor")]

    use core::ffi::c_int;

    /// glibc passes what main gets; musl passes nothing, but has set `environ` by now, and glibc has not always.
    extern "C" fn construct(_: c_int, _: *const *const u8, environment: *const *const u8) {
        let of_libc = crate::arch::environment_of_libc();
        let environment = if of_libc.is_null() { environment } else { of_libc };
        super::start(environment as usize);
    }

    #[used]
    #[unsafe(link_section = ".init_array")]
    static CONSTRUCT: extern "C" fn(c_int, *const *const u8, *const *const u8) = construct;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_read_strictly() {
        assert_eq!(descriptors("961,960"), Some([961, 960]));
        for wrong in ["", "961", "961,", ",960", "a,b", "1,960", "-5,7", "961,960,3", "99999999999,3"] {
            assert_eq!(descriptors(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_our_variables_are_read() {
        let strings = [
            c"PATH=/bin",
            c"RINGFENCE_FDS=961,960,invoked",
            c"NOVALUE",
            c"RINGFENCE_INODES=17,18",
            c"RINGFENCE_REPORT=socket",
            c"RINGFENCE_SITES=abc.",
            c"RINGFENCE_SITESX=1",
            c"AWS_LAMBDA_RUNTIME_API=203.0.113.9:443",
        ];
        let mut vector: Vec<usize> = strings.iter().map(|text| text.as_ptr() as usize).collect();
        vector.push(0);
        let expected = Told {
            descriptors: Some([961, 960]),
            invoked: true,
            inodes: Inodes::Told([17, 18]),
            report: b"socket",
            sites: b"abc.",
            ..Told::default()
        };
        assert_eq!(told(vector.as_ptr() as usize), expected);
        assert_eq!(told(0), Told::default());
        let scoped = Told { descriptors: Some([961, 960]), scope: 3, ..Told::default() };
        assert_eq!(tell("961,960,scope=3"), scoped);
        assert_eq!(tell("961,960,invoked,scope=6"), Told { scope: 6, invoked: true, ..scoped });
        let proxied = tell("961,960,invoked,proxy=9002,scope=6");
        assert_eq!(proxied, Told { proxy: 9002, scope: 6, invoked: true, ..scoped });
        assert_eq!(tell("961,960,proxy=x").proxy, 0);
        let direct = tell("961,960,invoked,direct,proxy=9002");
        assert!(direct.direct && direct.invoked && direct.proxy == 9002);
        assert!(tell("961,960,direct").direct && !tell("961,960,invoked").direct);
        assert_eq!(tell("961,960,scope=x").scope, u32::MAX);
    }
}
