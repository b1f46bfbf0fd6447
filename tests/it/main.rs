//! Conversations with a running attache over real sockets. Each module is one area; [`support`] has the scripted peers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed expectation is how a test fails")]
#![allow(clippy::float_cmp, reason = "counters are whole numbers")]
#![allow(
    clippy::duplicate_mod,
    reason = "the servers of the fleet's tests are those of the library's own, which say what is skipped too"
)]
#![allow(unreachable_pub, reason = "the modules of a test are its own")]

mod access_log;
mod socks;
mod status_page;
mod support;

mod admin_actions;
mod admin_commands;
mod authorization_server;
mod bound_tokens;
mod ca_trust;
mod callers;
mod check_upstreams;
mod circles;
mod cli;
mod cli_forms;
mod cli_run;
mod client_authentication;
mod client_certificates;
mod client_table;
mod clients;
mod connections;
mod contrib;
mod crowded;
mod dashboard;
mod descriptors;
mod drain;
mod drain_delay;
mod environment;
mod exec;
mod exec_whole_shell;
mod failures;
mod federation;
mod fixed_credentials;
mod fleet;
mod forward;
mod framing;
mod framing_fields;
mod front_proxies;
mod fuzz_corpus;
mod guarantees;
mod guarantees_tokens;
mod h2_conformance;
mod h2_conformance_requests;
mod h2load;
#[cfg(target_os = "linux")]
mod hidden;
mod http2;
mod http2_abuse;
mod http2_callers;
mod http2_slow_reader;
mod http2_upstreams;
mod init;
mod inject;
mod intercept;
#[cfg(target_os = "linux")]
mod isolate;
mod isolation;
mod library;
mod limits;
mod listener_tls;
mod local_ca;
#[cfg(unix)]
mod log;
mod metrics;
mod metrics_health;
mod metrics_requests;
mod mistakes;

mod no_leaks;
mod no_leaks_credentials;
mod node_preload;
mod openapi;
mod package_clients;
mod parent_proxy;
mod parking;
mod paths;
mod pool;
mod probes;
mod profiles;
mod real_connections;
mod real_servers;
mod reload;
mod removed_callers;
mod renewal;
mod replay_memory;
mod responses;
mod retry;
mod reverse;
mod rewrite;
mod rewrite_clients;
mod schema;
mod service_manager;
mod shared_cache;
#[cfg(target_os = "linux")]
mod side_by_side;
mod tail;
mod tidy;
mod tidy_pages;
mod title_case;
mod token_endpoint;
mod token_exchange;
mod token_origin;
mod tokens;
mod traces;
mod tunnel;
mod unprocessed;
mod watch;
mod watchers;
mod websocket;
mod websocket_clients;
mod where_it_may_go;
