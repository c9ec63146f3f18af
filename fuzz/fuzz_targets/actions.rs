//! One action of each kind, in several contexts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ringfence_policy::{Action, Context, Destination, Exec, Linkage, Origin, Phase, Plane, Role, Transport};

const fn exec(given: &'static [u8], origin: Origin, linkage: Linkage) -> Action<'static> {
    Action::Exec(Exec { given, resolved: given, origin, linkage, by_listed_script: false })
}

const fn to(address: IpAddr, port: u16, names: &'static [u16]) -> Action<'static> {
    Action::Connect(Destination {
        address,
        port,
        transport: Transport::Stream,
        names,
        runtime_api: false,
        own_service: false,
        second_connection: false,
    })
}

/// The actions, each with each context.
pub fn all() -> impl Iterator<Item = (Action<'static>, Context)> {
    let actions = [
        exec(b"/bin/sh", Origin::ReadOnly, Linkage::Dynamic),
        exec(b"/tmp/x", Origin::Writable, Linkage::Static),
        exec(b"/usr/lib64/ld-linux-x86-64.so.2", Origin::ReadOnly, Linkage::Loader),
        Action::MapExecutable { path: b"/memfd:x (deleted)", origin: Origin::Memory },
        to(IpAddr::V4(Ipv4Addr::LOCALHOST), 80, &[]),
        to(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)), 443, &[0, 1, 65535]),
        to(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 5)), 5432, &[2]),
        Action::Resolve { name: b"api.example.com" },
        Action::Bind { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), port: 8080 },
        Action::OpenRead { path: b"/proc/1/environ" },
        Action::OpenWrite { path: b"/tmp/a/b.txt" },
        Action::ReadCredential { variable: b"AWS_SECRET_ACCESS_KEY", by_sdk: false },
        Action::InheritCredentials { variable: b"AWS_SESSION_TOKEN" },
        Action::Dangerous { call: "ptrace" },
    ];
    let phases = [Phase::Init, Phase::Invoke, Phase::Between, Phase::Shutdown];
    actions.into_iter().flat_map(move |action| {
        phases.into_iter().flat_map(move |phase| {
            [(Role::Runtime, Plane::Kernel), (Role::Child, Plane::Process)]
                .map(|(role, strongest)| (action, Context { phase, role, strongest, launched: true }))
        })
    })
}
