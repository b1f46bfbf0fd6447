//! `--isolate`: the command in a network of its own, in which only attache is (Linux).

#[cfg(not(target_os = "linux"))]
pub(super) use absent::Isolation;
#[cfg(target_os = "linux")]
pub(super) use linux::Isolation;

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeSet;
    use std::ffi::OsString;
    use std::net::{Ipv4Addr, SocketAddr};
    use std::path::{Path, PathBuf};

    use crate::cli::exec::known;
    use crate::cli::isolated;
    use crate::cli::output::Failure;
    use crate::config::{Config, ListenerConfig};
    use crate::exec::isolate::{Door, Plan, Way, way};
    use crate::listen::ListenAddress;
    use crate::proxy::{ListenerMode, Unmatched};

    /// The listener for what is dialled without a proxy.
    const BY_NAME: &str = "isolate";

    /// Inside all ports are free; these are out of the way of those that programs choose themselves.
    const FIRST_DOOR: u16 = 60_080;

    /// What is ready for the command before the proxy starts.
    #[derive(Debug)]
    pub(in crate::cli::exec) struct Isolation {
        way: Way,
        folder: PathBuf,
        doors: Vec<Door>,
    }

    impl Isolation {
        /// Makes sure that the command can be isolated, and puts the listeners of a configuration where the inside finds them: on unix
        /// sockets in the folder, which belong to no network.
        pub(in crate::cli::exec) async fn prepare(config: &mut Config, folder: &Path) -> Result<Self, Failure> {
            let way = way().await.map_err(Failure::failed)?;
            let upstreams = known(config).map(|upstream| upstream.connection.name.clone()).collect();
            let taken: BTreeSet<u16> = known(config).map(|upstream| upstream.connection.origin.base().port).collect();
            let free = (FIRST_DOOR..).filter(|port| !taken.contains(port));
            let mut doors = Vec::new();
            for (listener, port) in config.listeners.iter_mut().zip(free) {
                let socket = folder.join(format!("{port}.sock"));
                listener.address = ListenAddress::Unix(socket.clone());
                listener.users = Some(crate::exec::users());
                doors.push(Door { port, socket });
            }
            config.listeners.push(ListenerConfig {
                name: BY_NAME.to_owned(),
                address: ListenAddress::Unix(by_name(folder)),
                mode: ListenerMode::Socks5 { upstreams },
                callers: None,
                users: Some(crate::exec::users()),
                socket_mode: None,
                tls: None,
                proxy_protocol: None,
                trusted_proxies: None,
                title_case: false,
            });
            let isolation = Self { way, folder: folder.to_owned(), doors };
            isolation.plan(config).write(folder).map_err(Failure::failed)?;
            Ok(isolation)
        }

        fn plan(&self, config: &Config) -> Plan {
            Plan {
                origins: known(config).map(|upstream| upstream.connection.origin.to_string()).collect(),
                others: config.forward.unmatched != Unmatched::Deny,
                socks: by_name(&self.folder),
                doors: self.doors.clone(),
                user: rustix::process::geteuid().as_raw(),
                group: rustix::process::getegid().as_raw(),
            }
        }

        /// Where the command finds what listens here.
        pub(in crate::cli::exec) fn inside(
            &self,
            listening: Vec<(String, ListenAddress)>,
        ) -> Vec<(String, ListenAddress)> {
            let door =
                |at: &ListenAddress| self.doors.iter().find(|door| *at == ListenAddress::Unix(door.socket.clone()));
            let inside = |port| ListenAddress::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
            let doors = listening.into_iter().filter_map(|(name, at)| Some((name, inside(door(&at)?.port))));
            doors.collect()
        }

        /// What has to be started for this command to run isolated.
        pub(in crate::cli::exec) fn around(&self, command: &[OsString]) -> Result<Vec<OsString>, Failure> {
            let me = std::env::current_exe().map_err(Failure::failed)?;
            let (unshare, arguments) = self.way.command(&me);
            let inside = isolated::inside_arguments(&self.folder, command);
            Ok([unshare].into_iter().chain(arguments).chain(inside).collect())
        }
    }

    fn by_name(folder: &Path) -> PathBuf {
        folder.join("by-name.sock")
    }
}

/// Where there are no namespaces.
#[cfg(not(target_os = "linux"))]
mod absent {
    use std::ffi::OsString;
    use std::path::Path;

    use crate::cli::output::Failure;
    use crate::config::Config;
    use crate::listen::ListenAddress;

    /// There is none.
    #[derive(Debug)]
    pub(in crate::cli::exec) enum Isolation {}

    impl Isolation {
        #[expect(clippy::unused_async, reason = "where it can be had, it takes a moment")]
        pub(in crate::cli::exec) async fn prepare(_: &mut Config, _: &Path) -> Result<Self, Failure> {
            Err(Failure::failed(
                "--isolate needs the namespaces of Linux, which this system has not; run attache and the command in a Linux \
                 container or virtual machine",
            ))
        }

        pub(in crate::cli::exec) fn inside(&self, _: Vec<(String, ListenAddress)>) -> Vec<(String, ListenAddress)> {
            match *self {}
        }

        pub(in crate::cli::exec) fn around(&self, _: &[OsString]) -> Result<Vec<OsString>, Failure> {
            match *self {}
        }
    }
}
