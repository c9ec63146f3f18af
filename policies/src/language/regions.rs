//! The parts into which patterns divide what they match: one example for each set of patterns that can match together.
//!
//! It follows all patterns of a list at once, byte by byte, so that it finds every such set. It must not know what patterns
//! are for. The difference of two policies and the reader's warnings about dead entries ask it.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::patterns::step;
use super::{Endpoint, Host, Network, PathGlob};
use crate::embedded::embedded;

/// Most states that are followed. Lists of some hundred globs stay far below.
const MAX_STATES: usize = 60_000;
/// Bytes that stand for others, the most readable first.
const CANDIDATES: &[u8] =
    b"xyzabcdefghijklmnopqrstuvw0123456789XYZABCDEFGHIJKLMNOPQRSTUVW-_.,+=@~:;!#$%&'()*<>?[\\]^`{|}\" ";

/// A part: something in it, and the patterns that match all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part<T> {
    pub(super) example: T,
    /// Indices of the patterns.
    pub(super) matched: Vec<usize>,
}

/// Where one pattern stands: the component, and how much of it has been matched.
type Position = (usize, usize);

/// A glob as components; `**` is one of its own.
struct Compiled<'g> {
    components: Vec<&'g [u8]>,
}

impl<'g> Compiled<'g> {
    fn new(glob: &'g PathGlob) -> Self {
        Self { components: glob.as_str().as_bytes().split(|byte| *byte == b'/').skip(1).collect() }
    }

    fn is_deep(&self, component: usize) -> bool {
        self.components.get(component).is_some_and(|pattern| *pattern == b"**")
    }

    fn rest(&self, (component, offset): Position) -> &'g [u8] {
        self.components.get(component).and_then(|pattern| pattern.get(offset..)).unwrap_or_default()
    }

    /// Positions at the start of a component of the path.
    fn start(&self, component: usize, to: &mut Vec<Position>) {
        if component >= self.components.len() {
            return;
        }
        if self.is_deep(component) {
            to.push((component, 0));
            self.start(component + 1, to);
        } else {
            self.add((component, 0), to);
        }
    }

    /// Adds a position, and those behind the stars that follow.
    fn add(&self, at: Position, to: &mut Vec<Position>) {
        to.push(at);
        if self.rest(at).first() == Some(&b'*') {
            self.add((at.0, at.1 + 1), to);
        }
    }

    fn after(&self, positions: &[Position], byte: u8) -> Vec<Position> {
        let mut to = Vec::new();
        for at in positions {
            let (component, offset) = *at;
            let rest = self.rest(*at);
            match byte {
                b'/' if self.is_deep(component) => self.start(component, &mut to),
                b'/' if rest.is_empty() => self.start(component + 1, &mut to),
                b'/' => {}
                _ if self.is_deep(component) || rest.first() == Some(&b'*') => self.stay(*at, &mut to),
                _ => {
                    if let Some(left) = step(rest, byte) {
                        self.add((component, offset + rest.len() - left.len()), &mut to);
                    }
                }
            }
        }
        to.sort_unstable();
        to.dedup();
        to
    }

    fn stay(&self, at: Position, to: &mut Vec<Position>) {
        if self.is_deep(at.0) { to.push(at) } else { self.add(at, to) }
    }

    /// Whether the path may end here.
    fn accepts(&self, positions: &[Position]) -> bool {
        positions.iter().any(|at| {
            let ends = self.is_deep(at.0) || self.rest(*at).is_empty();
            ends && (at.0 + 1..self.components.len()).all(|component| self.is_deep(component))
        })
    }

    /// For each element of the pattern, whether it takes `byte`.
    fn signature(&self, byte: u8) -> impl Iterator<Item = bool> {
        let plain = self.components.iter().filter(|pattern| **pattern != b"**");
        plain.flat_map(move |pattern| {
            (0..pattern.len()).map(move |at| pattern.get(at..).is_some_and(|rest| step(rest, byte).is_some()))
        })
    }
}

/// What the component that is being written has so far: nothing, `.`, `..`, or something else.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Name {
    Empty,
    Dot,
    Dots,
    Proper,
}

impl Name {
    fn after(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            // A resolved path has no empty components, and none that are `.` or `..`.
            (Self::Proper, b'/') => Some(Self::Empty),
            (_, b'/') => None,
            (Self::Empty, b'.') => Some(Self::Dot),
            (Self::Dot, b'.') => Some(Self::Dots),
            _ => Some(Self::Proper),
        }
    }
}

/// A glob whose sets of positions have numbers, so that a step that was made once is looked up.
struct Numbered<'g> {
    glob: Compiled<'g>,
    numbers: HashMap<Vec<Position>, u32>,
    sets: Vec<Vec<Position>>,
    /// For each set and letter of the alphabet the set after it, once it is known.
    steps: Vec<Vec<Option<u32>>>,
    letters: usize,
}

impl<'g> Numbered<'g> {
    fn new(glob: Compiled<'g>, letters: usize) -> Self {
        let mut start = Vec::new();
        glob.start(0, &mut start);
        start.sort_unstable();
        start.dedup();
        let mut numbered =
            Self { glob, numbers: HashMap::new(), sets: Vec::new(), steps: Vec::new(), letters };
        numbered.number(start);
        numbered
    }

    fn number(&mut self, positions: Vec<Position>) -> u32 {
        if let Some(number) = self.numbers.get(&positions) {
            return *number;
        }
        let number = u32::try_from(self.sets.len()).unwrap_or(u32::MAX);
        self.sets.push(positions.clone());
        self.steps.push(vec![None; self.letters]);
        self.numbers.insert(positions, number);
        number
    }

    fn positions(&self, number: u32) -> &[Position] {
        usize::try_from(number).ok().and_then(|number| self.sets.get(number)).map_or(&[], Vec::as_slice)
    }

    /// The set after the letter of the alphabet with this index, which is `byte`.
    fn after(&mut self, number: u32, letter: usize, byte: u8) -> u32 {
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        if let Some(Some(next)) = self.steps.get(at).and_then(|steps| steps.get(letter)) {
            return *next;
        }
        let next = self.glob.after(self.positions(number), byte);
        let next = self.number(next);
        if let Some(step) = self.steps.get_mut(at).and_then(|steps| steps.get_mut(letter)) {
            *step = Some(next);
        }
        next
    }

    fn accepts(&self, number: u32) -> bool {
        self.glob.accepts(self.positions(number))
    }
}

/// Each set of globs that match one path together, with the shortest such path. `None` where there are too many.
pub(super) fn of_paths(globs: &[&PathGlob]) -> Option<Vec<Part<String>>> {
    let globs: Vec<Compiled<'_>> = globs.iter().map(|glob| Compiled::new(glob)).collect();
    let alphabet = alphabet(&globs);
    let mut globs: Vec<Numbered<'_>> =
        globs.into_iter().map(|glob| Numbered::new(glob, alphabet.len())).collect();
    let start = (vec![0; globs.len()], Name::Empty);
    let mut found: BTreeMap<Vec<usize>, String> = BTreeMap::new();
    let mut states = HashSet::from([start.clone()]);
    let mut queue = VecDeque::from([(start, "/".to_owned())]);
    while let Some(((numbers, name), path)) = queue.pop_front() {
        if name == Name::Proper || path == "/" {
            let accepting = globs.iter().zip(&numbers).enumerate();
            let matched: Vec<usize> = accepting
                .filter_map(|(index, (glob, number))| glob.accepts(*number).then_some(index))
                .collect();
            found.entry(matched).or_insert_with(|| path.clone());
        }
        for (letter, byte) in alphabet.iter().enumerate() {
            let Some(name) = name.after(*byte) else { continue };
            let next =
                globs.iter_mut().zip(&numbers).map(|(glob, number)| glob.after(*number, letter, *byte));
            let state = (next.collect::<Vec<u32>>(), name);
            if states.contains(&state) {
                continue;
            }
            if states.len() >= MAX_STATES {
                return None;
            }
            states.insert(state.clone());
            queue.push_back((state, format!("{path}{}", char::from(*byte))));
        }
    }
    Some(found.into_iter().map(|(matched, example)| Part { example, matched }).collect())
}

/// One byte for each class of bytes that no pattern tells apart, and the slash.
fn alphabet(globs: &[Compiled<'_>]) -> Vec<u8> {
    let mut classes: Vec<(Vec<bool>, u8)> = Vec::new();
    for byte in CANDIDATES {
        let own = std::iter::once(*byte == b'.');
        let signature: Vec<bool> = own.chain(globs.iter().flat_map(|glob| glob.signature(*byte))).collect();
        if !classes.iter().any(|(known, _)| *known == signature) {
            classes.push((signature, *byte));
        }
    }
    classes.into_iter().map(|(_, byte)| byte).chain([b'/']).collect()
}

/// Each set of name patterns that match one name together, with such a name; `localhost` is always one of the names.
pub(super) fn of_names(hosts: &[&Host]) -> Vec<Part<String>> {
    let taken = |name: &str| {
        hosts.iter().any(|host| match host {
            Host::Name(own) | Host::Below(own) => own == name,
            Host::Any | Host::Network(_) => false,
        })
    };
    // A name below `suffix` that no entry names, and none is a suffix of.
    let below = |suffix: &str| {
        let labels = std::iter::successors(Some("host".to_owned()), |label| Some(format!("{label}x")));
        labels.map(|label| format!("{label}.{suffix}")).find(|name| !taken(name))
    };
    let mut names = vec!["localhost".to_owned()];
    for host in hosts {
        match host {
            Host::Name(name) => names.push(name.clone()),
            Host::Below(suffix) => {
                names.push(suffix.clone());
                names.extend(below(suffix));
            }
            Host::Any | Host::Network(_) => {}
        }
    }
    names.extend(below("invalid"));
    let mut parts: BTreeMap<(bool, Vec<usize>), String> = BTreeMap::new();
    for name in names {
        let matching = hosts.iter().enumerate().filter(|(_, host)| host.matches_name(&name));
        let matched = matching.map(|(index, _)| index).collect();
        parts.entry((name == "localhost", matched)).or_insert(name);
    }
    parts.into_iter().map(|((_, matched), example)| Part { example, matched }).collect()
}

/// Each set of networks that hold one address together, with such an address.
pub(super) fn of_addresses(networks: &[Network]) -> Vec<Part<IpAddr>> {
    let special = ["127.0.0.0/8", "0.0.0.0/32", "[::1]", "[::]", "[::ffff:0:0]/95"];
    let special = special.iter().filter_map(|text| match Endpoint::new(text)?.host {
        Host::Network(network) => Some(network),
        _ => None,
    });
    let all: Vec<Network> = networks.iter().copied().chain(special).collect();
    let mut parts: BTreeMap<(bool, bool, Vec<usize>), IpAddr> = BTreeMap::new();
    for is_v4 in [true, false] {
        let last = if is_v4 { u128::from(u32::MAX) } else { u128::MAX };
        let mut starts: Vec<u128> = vec![0];
        for network in all.iter().filter(|network| network.address.is_ipv4() == is_v4) {
            let (first, end) = range(*network);
            starts.push(first);
            starts.extend(end.checked_add(1).filter(|start| *start <= last));
        }
        starts.sort_unstable();
        starts.dedup();
        for (index, first) in starts.iter().enumerate() {
            let end = starts.get(index + 1).map_or(last, |next| next - 1);
            let candidates = [*first, end, first + (end - first) / 2].map(|bits| address(bits, is_v4));
            let plain =
                |address: &IpAddr| embedded(*address).next().is_none() && address.to_canonical() == *address;
            let Some(example) = candidates.into_iter().find(plain) else { continue };
            let holding = networks.iter().enumerate().filter(|(_, network)| network.has(example));
            let matched: Vec<usize> = holding.map(|(index, _)| index).collect();
            let local = example.is_loopback() || example.is_unspecified();
            parts.entry((is_v4, local, matched)).or_insert(example);
        }
    }
    parts.into_iter().map(|((_, _, matched), example)| Part { example, matched }).collect()
}

fn range(network: Network) -> (u128, u128) {
    let (bits, width) = match network.address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let free = width - u32::from(network.prefix).min(width);
    let size = u128::MAX.checked_shr(128 - free).unwrap_or(0);
    (bits, bits | size)
}

fn address(bits: u128, is_v4: bool) -> IpAddr {
    if is_v4 {
        Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or(u32::MAX)).into()
    } else {
        Ipv6Addr::from_bits(bits).into()
    }
}

/// The intervals of ports that no entry divides, from 1.
pub(super) fn of_ports<'e>(endpoints: impl Iterator<Item = &'e Endpoint>) -> Vec<(u16, u16)> {
    let mut starts: Vec<u16> = vec![1];
    for endpoint in endpoints {
        starts.push(endpoint.ports.low.max(1));
        starts.extend(endpoint.ports.high.checked_add(1));
    }
    starts.sort_unstable();
    starts.dedup();
    let ends = starts.iter().skip(1).map(|next| next - 1).chain([u16::MAX]);
    starts.iter().copied().zip(ends).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::subsequence;

    use super::*;

    const GLOBS: [&str; 14] = [
        "/a", "/a/*", "/a/**", "/**", "/**/b", "/a/**/b", "/a/b*", "/a/?b", "/a/[!b]b", "/*/a/*", "/a/b/c",
        "/", "/**/a*b", "/a/\\*",
    ];

    fn matched(globs: &[&PathGlob], path: &str) -> Vec<usize> {
        let matching = globs.iter().enumerate().filter(|(_, glob)| glob.matches(path.as_bytes()));
        matching.map(|(index, _)| index).collect()
    }

    proptest! {
        #[test]
        fn every_path_is_in_a_part_and_every_part_has_its_path(
            chosen in subsequence(&GLOBS[..], 0..=6),
            path in "/([ab*x]{1,3}(/[ab*x]{1,3}){0,4})?",
        ) {
            let globs: Vec<PathGlob> = chosen.iter().map(|glob| PathGlob::new(glob).unwrap()).collect();
            let globs: Vec<&PathGlob> = globs.iter().collect();
            let parts = of_paths(&globs).unwrap();
            let own = matched(&globs, &path);
            prop_assert!(parts.iter().any(|part| part.matched == own), "{path} {chosen:?}");
            for part in parts {
                prop_assert_eq!(matched(&globs, &part.example), part.matched, "{}", part.example);
            }
        }

        #[test]
        fn every_address_is_in_a_part(address in any::<u32>(), networks in subsequence(vec!["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0", "128.0.0.0/1", "255.255.255.255"], 0..=5)) {
            let networks: Vec<Network> = networks.iter().filter_map(|text| match Endpoint::new(text)?.host {
                Host::Network(network) => Some(network),
                _ => None,
            }).collect();
            let address = IpAddr::V4(Ipv4Addr::from_bits(address));
            let own: Vec<usize> = networks.iter().enumerate().filter(|(_, network)| network.has(address)).map(|(index, _)| index).collect();
            prop_assert!(of_addresses(&networks).iter().any(|part| part.example.is_ipv4() && part.matched == own));
        }
    }

    #[test]
    fn many_globs_are_followed_in_bounded_time() {
        let globs: Vec<PathGlob> =
            (0..200).map(|number| PathGlob::new(&format!("/opt/tools/{number}/bin/*")).unwrap()).collect();
        let parts = of_paths(&globs.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(parts.len(), 201);
    }

    #[test]
    fn names_divide_at_suffixes_and_names() {
        let hosts = ["*.example.com", "api.example.com", "*.api.example.com"]
            .map(|text| Endpoint::new(text).unwrap().host);
        let parts = of_names(&hosts.iter().collect::<Vec<_>>());
        let shown: Vec<String> =
            parts.iter().map(|part| format!("{} {:?}", part.example, part.matched)).collect();
        assert_eq!(
            shown,
            [
                "example.com []",
                "host.example.com [0]",
                "api.example.com [0, 1]",
                "host.api.example.com [0, 2]",
                "localhost []"
            ]
        );
    }

    #[test]
    fn ports_divide_at_both_ends() {
        let endpoints = ["*:443", "*:80-90"].map(|text| Endpoint::new(text).unwrap());
        assert_eq!(of_ports(endpoints.iter()), [(1, 79), (80, 90), (91, 442), (443, 443), (444, u16::MAX)]);
    }
}
