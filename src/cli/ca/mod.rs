//! `attache ca`: the local CA is made, shown, and handed to those who are to trust it.

mod configured;
mod stores;
mod trust;

use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

pub(super) use self::configured::configured;
use self::stores::Wish;
use super::config_arg::ConfigArg;
use super::output::{BOLD, Failure, data, json, talk};
use super::trust::JAVA_PASSWORD;
use crate::config::{ConfigErrors, InterceptPlan};
use crate::secret::SecretSource;
use crate::tls::{AuthoritySource, CertificateAuthority, trust_store};

#[derive(Debug, Args)]
pub(super) struct CaArgs {
    #[command(subcommand)]
    command: CaCommand,
}

#[derive(Debug, Subcommand)]
enum CaCommand {
    /// Make a CA: two files, the key readable by you alone. Nothing is overwritten.
    Init(InitArgs),
    /// Say what the CA is, until when it is valid, and how programs come to trust it.
    Show(ShowArgs),
    /// Print the CA's certificate, in the form that a system or program takes.
    Export(ExportArgs),
    /// Have the system and the browsers of this user trust the CA; every step is printed.
    Trust(trust::TrustArgs),
    /// Take the CA out of the stores that `ca trust` put it into.
    Untrust(trust::TrustArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  attache ca init                     the two files that [intercept] of proxy.toml names
  attache ca init --directory ~/ca    ca.pem and ca.key there, for a configuration to come

A program that has the key can be every server to every program that trusts the certificate. With
--constrain it is good for the hosts of the configured upstreams only.")]
struct InitArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Write ca.pem and ca.key into this folder instead of what the configuration names.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "profile"])]
    directory: Option<PathBuf>,
    /// Let it sign only for the hosts of upstreams that have a credential (name constraints, RFC 5280).
    #[arg(long, conflicts_with = "directory")]
    constrain: bool,
}

#[derive(Debug, Args)]
struct ShowArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ExportArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// What the reader takes.
    #[arg(long, value_enum, default_value = "pem")]
    format: Format,
    /// Write into this file instead of stdout.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite that file, if it is there.
    #[arg(long, requires = "output")]
    force: bool,
    /// What a pkcs12 or jks store is opened with.
    #[arg(long, default_value = JAVA_PASSWORD, value_name = "TEXT")]
    password: String,
    /// With the system's trusted certificates before it: for programs whose list is replaced and not added to.
    #[arg(long)]
    bundle: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Pem,
    Der,
    Pkcs12,
    Jks,
}

pub(super) async fn ca(args: CaArgs) -> Result<(), Failure> {
    match args.command {
        CaCommand::Init(args) => init(&args),
        CaCommand::Show(args) if args.json => show(&args).map_err(Failure::in_json),
        CaCommand::Show(args) => show(&args),
        CaCommand::Export(args) => export(&args),
        CaCommand::Trust(args) => trust::change(args, Wish::Trust).await,
        CaCommand::Untrust(args) => trust::change(args, Wish::Untrust).await,
    }
}

fn init(args: &InitArgs) -> Result<(), Failure> {
    let in_folder = |folder: &Path| (folder.join("ca.pem"), folder.join("ca.key"));
    let mut shown = "proxy.toml".to_owned();
    let (plan, (certificate, key)) = if let Some(directory) = &args.directory {
        (InterceptPlan::default(), in_folder(directory))
    } else {
        let file = args.config.find().map_err(|errors| Failure::Config(or_a_folder(errors)))?;
        shown = file.display().to_string();
        let plan = InterceptPlan::read(&file).map_err(|errors| Failure::Config(or_directory(&file, errors)))?;
        let files = plan.files.clone().unwrap_or_else(|| in_folder(file.parent().unwrap_or(&file)));
        (plan, files)
    };
    if args.constrain && plan.hosts.is_empty() {
        return Err(Failure::failed(
            "there is no upstream with a credential yet, so there is nothing to constrain the CA to",
        ));
    }
    let hosts: &[String] = if args.constrain { &plan.hosts } else { &[] };
    for path in [&certificate, &key] {
        if path.exists() {
            let shown = path.display();
            return Err(Failure::failed(format!(
                "{shown} is there already and stays as it is: programs may trust it; move it away to make another"
            )));
        }
    }
    let made = CertificateAuthority::generate(hosts).map_err(Failure::failed)?;
    // The key first: without it the certificate is of no use, and a half-made CA is not taken for a whole one.
    let written = AuthoritySource::create(&made, &certificate, &key);
    written.map_err(|(path, error)| Failure::failed(format!("cannot write {}: {error}", path.display())))?;
    talk(format_args!("{} and {} are written.", certificate.display(), key.display()))?;
    if plan.files.is_none() {
        let (certificate, key) = match &args.directory {
            Some(_) => (absolute(&certificate), absolute(&key)),
            None => ("ca.pem".to_owned(), "ca.key".to_owned()),
        };
        talk(format_args!(
            "\nAdd to {shown}:\n\n[intercept]\nca_certificate = \"{certificate}\"\nca_key         = \"{key}\"\n"
        ))?;
    }
    instructions(&absolute(&certificate))
}

/// A CA can be made before there is a configuration.
fn or_directory(file: &Path, mut errors: ConfigErrors) -> ConfigErrors {
    if let Some(problem) = errors.problems.first_mut().filter(|_| !file.exists()) {
        problem.remedy.push_str(", or a folder with --directory");
    }
    errors
}

#[derive(Serialize)]
struct Shown {
    certificate: Option<String>,
    key: Option<String>,
    subject: String,
    fingerprint_sha256: String,
    /// By which browsers are told to trust it.
    spki_sha256: String,
    not_after: String,
    constrained_to: Vec<String>,
}

fn show(args: &ShowArgs) -> Result<(), Failure> {
    let (source, authority) = configured(&args.config.path()?)?;
    let shown = Shown {
        certificate: path(&source.certificate),
        key: path(&source.key),
        subject: authority.subject(),
        fingerprint_sha256: authority.fingerprint(),
        spki_sha256: authority.key_pin(),
        not_after: humantime::format_rfc3339_seconds(authority.not_after()).to_string(),
        constrained_to: authority.constrained_to(),
    };
    if args.json {
        return json(&shown);
    }
    data(format_args!("{BOLD}{}{BOLD:#}", shown.subject))?;
    let unknown = || "not a file".to_owned();
    data(format_args!("certificate  {}", shown.certificate.clone().unwrap_or_else(unknown)))?;
    data(format_args!("key          {}", shown.key.unwrap_or_else(unknown)))?;
    data(format_args!("sha256       {}", shown.fingerprint_sha256))?;
    data(format_args!("spki sha256  {}", shown.spki_sha256))?;
    data(format_args!("valid until  {}", shown.not_after))?;
    let hosts = if shown.constrained_to.is_empty() { "any host".to_owned() } else { shown.constrained_to.join(", ") };
    data(format_args!("signs for    {hosts}"))?;
    instructions(&shown.certificate.unwrap_or_else(|| "ca.pem".to_owned()))
}

fn export(args: &ExportArgs) -> Result<(), Failure> {
    let (_, authority) = configured(&args.config.path()?)?;
    let roots = if args.bundle { trust_store::system_roots().map_err(Failure::failed)? } else { Vec::new() };
    let all = || roots.iter().map(AsRef::as_ref).chain([authority.der()]);
    let bytes = match args.format {
        Format::Pem => trust_store::pem_bundle(all()).into_bytes(),
        Format::Der if args.bundle => {
            return Err(Failure::usage("DER holds one certificate; --bundle goes with the other formats"));
        }
        Format::Der => authority.der().to_vec(),
        Format::Pkcs12 => trust_store::pkcs12(all(), &args.password).map_err(Failure::failed)?,
        Format::Jks => trust_store::jks(all(), &args.password),
    };
    if let Some(path) = &args.output {
        let cannot = |error: std::io::Error| match error.kind() {
            ErrorKind::AlreadyExists => {
                format!("{} is there already and stays as it is; --force overwrites it", path.display())
            }
            _ => format!("cannot write {}: {error}", path.display()),
        };
        let mut options = std::fs::OpenOptions::new();
        let options = if args.force { options.create(true).truncate(true) } else { options.create_new(true) };
        let written = options.write(true).open(path).and_then(|mut file| file.write_all(&bytes));
        written.map_err(|error| Failure::failed(cannot(error)))?;
        return talk(format_args!("{} is written", path.display()));
    }
    if args.format != Format::Pem && std::io::stdout().is_terminal() {
        return Err(Failure::usage("this format is no text for a terminal; add --output FILE, or redirect it"));
    }
    // A reader that has gone away is no error worth a message.
    std::io::stdout().write_all(&bytes).map_err(|_closed| Failure::Told)
}

/// Without a configuration there is another place for the files.
fn or_a_folder(mut errors: ConfigErrors) -> ConfigErrors {
    for problem in &mut errors.problems {
        problem.remedy = format!("{}, or a folder with --directory", problem.remedy);
    }
    errors
}

fn path(source: &SecretSource) -> Option<String> {
    match source {
        SecretSource::File(path) => Some(absolute(path)),
        _ => None,
    }
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_nowhere| path.to_owned()).display().to_string()
}

/// How each kind of system and program comes to trust it.
fn instructions(certificate: &str) -> Result<(), Failure> {
    talk(format_args!(
        "\n{BOLD}How programs come to trust it{BOLD:#} (only those that go through attache need to)\n\
         \n  one command        attache exec -- CMD        sets all of this for that command alone\
         \n  this shell         eval \"$(attache env)\"\
         \n  system, browsers   attache ca trust           each step is printed; attache ca untrust undoes it\
         \n  Debian, Ubuntu     cp {certificate} /usr/local/share/ca-certificates/attache.crt && update-ca-certificates\
         \n  Fedora, RHEL       cp {certificate} /etc/pki/ca-trust/source/anchors/ && update-ca-trust\
         \n  Alpine             cp {certificate} /usr/local/share/ca-certificates/attache.crt && update-ca-certificates\
         \n  macOS              security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain {certificate}\
         \n  Windows            certutil -addstore Root {certificate}\
         \n  Firefox, NSS       certutil -A -d sql:$HOME/.pki/nssdb -n attache -t C,, -i {certificate}\
         \n  Chromium, Electron --ignore-certificate-errors-spki-list=… with the spki sha256 of `attache ca show`; so does\
         \n                     Playwright: launch({{ args: [\"--ignore-certificate-errors-spki-list=…\"] }})\
         \n  Java               attache ca export --format pkcs12 --bundle -o trust.p12, then\
         \n                     -Djavax.net.ssl.trustStore=trust.p12 -Djavax.net.ssl.trustStorePassword={JAVA_PASSWORD}\
         \n  Node.js            NODE_EXTRA_CA_CERTS={certificate}\
         \n  Python, curl, git  attache ca export --bundle -o bundle.pem, then REQUESTS_CA_BUNDLE, SSL_CERT_FILE,\
         \n                     CURL_CA_BUNDLE and GIT_SSL_CAINFO = bundle.pem"
    ))
}
