//! The table of docs/clients.md, row by row: each program, unmodified, on each of four ways to attache. What the table says does
//! not work must not work either: programs get better, and then the table has to.

use std::process::Command;

use crate::clients::{World, installed, python, there_is};
use crate::support::Finished;

const BODY: &str = "sealing wax";

/// What a cell of the table says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Yes,
    No,
    /// With `--node-preload`.
    Preload,
}

use Mark::{No, Preload, Yes};

impl Mark {
    const fn cell(self) -> &'static str {
        match self {
            Yes => "✔",
            No => "✘",
            Preload => "preload",
        }
    }
}

/// `attache exec` with http:// and https://, the proxy variables alone, and a base URL.
type Marks = [Mark; 4];

const EVERYWHERE: Marks = [Yes, Yes, Yes, Yes];
/// Reads the proxy variables, and none for trusted certificates.
const NO_CA: Marks = [Yes, No, Yes, Yes];
/// Reads no variable.
const BASE_URL: Marks = [No, No, No, Yes];
/// Node.js 20.
const BY_PRELOAD: Marks = [Preload, Preload, No, Yes];

/// A version that reads no variable: those from 22.21 on do.
fn is_node_20() -> bool {
    let version = Command::new("node").arg("--version").output();
    version.is_ok_and(|version| version.stdout.starts_with(b"v20.") || version.stdout.starts_with(b"v18."))
}

/// A row: what the first cell begins with, what tells whether the program is there, and how it gets a URL, which comes last.
struct Row<'a> {
    name: &'a str,
    check: &'a [&'a str],
    command: &'a [&'a str],
    marks: Marks,
}

impl Row<'_> {
    async fn hold(&self, world: &World) {
        if !there_is(self.check[0], &self.check[1..]) {
            return;
        }
        self.is_in_the_table();
        let ways = self.marks.into_iter().enumerate().map(|(way, mark)| self.goes(world, way, mark));
        futures_util::future::join_all(ways).await;
    }

    async fn goes(&self, world: &World, way: usize, mark: Mark) {
        let plain = self.go(world, way, &[]).await;
        // Newer versions of Node.js read the variables, for some of these.
        let by_itself = mark == Preload && !is_node_20();
        assert!(by_itself || came(&plain) == (mark == Yes), "{} on way {way}: {plain:?}", self.name);
        if mark == Preload {
            let loaded = self.go(world, way, &["--node-preload"]).await;
            assert!(came(&loaded), "{} on way {way}, preloaded: {loaded:?}", self.name);
        }
    }

    async fn go(&self, world: &World, way: usize, options: &[&str]) -> Finished {
        // `env -i`: the four variables and nothing else of what exec sets.
        const ALONE: &str = "exec env -i PATH=\"$PATH\" HOME=\"$HOME\" http_proxy=$http_proxy HTTP_PROXY=$http_proxy \
                             https_proxy=$http_proxy HTTPS_PROXY=$http_proxy \"$@\"";
        const BASE: &str = "exec \"$@\" \"$URL/v1\"";
        let (before, url): (&[&str], &[&str]) = match way {
            0 => (&[], &["http://api.test/v1"]),
            1 => (&[], &["https://api.test/v1"]),
            2 => (&["sh", "-c", ALONE, "sh"], &["http://api.test/v1"]),
            _ => (&["sh", "-c", BASE, "sh"], &[]),
        };
        let options = [&["exec"], options, &["--base", "URL=api", "--"]].concat();
        world.folder.run(&[&options, before, self.command, url].concat()).await
    }

    /// The page says what is tried here.
    fn is_in_the_table(&self) {
        let page = include_str!("../../docs/clients.md");
        let row = page.lines().find(|line| line.strip_prefix("| ").is_some_and(|row| row.starts_with(self.name)));
        let row = row.unwrap_or_else(|| panic!("docs/clients.md has no row {:?}", self.name));
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(cells[2..6], self.marks.map(Mark::cell), "docs/clients.md: {row}");
    }
}

fn came(finished: &Finished) -> bool {
    finished.stdout.contains(BODY)
}

async fn hold(rows: &[Row<'_>]) {
    let world = World::new().await;
    for row in rows {
        row.hold(&world).await;
    }
}

#[tokio::test]
async fn programs_of_the_command_line() {
    let version: &[(&str, &[&str], &[&str], Marks)] = &[
        ("curl", &["curl", "--version"], &["curl", "-sS"], EVERYWHERE),
        ("wget ", &["wget", "--version"], &["wget", "-qO-"], EVERYWHERE),
        ("wget2", &["wget2", "--version"], &["wget2", "-qO-"], NO_CA),
        ("lynx", &["lynx", "-version"], &["lynx", "-dump"], EVERYWHERE),
        ("w3m", &["w3m", "-version"], &["w3m", "-dump_source"], EVERYWHERE),
        (
            "aria2",
            &["aria2c", "--version"],
            &["sh", "-c", "cd $(mktemp -d -p \"$HOME\") && aria2c -q -m1 -o got \"$1\"; cat got", "sh"],
            NO_CA,
        ),
    ];
    let row = |(name, check, command, marks): &(&'static str, &'static [_], &'static [_], Marks)| Row {
        name,
        check,
        command,
        marks: *marks,
    };
    hold(&version.iter().map(row).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn languages_with_a_library_of_their_own() {
    let curl = "$c=curl_init($argv[1]);curl_setopt($c,CURLOPT_RETURNTRANSFER,1);echo curl_exec($c);";
    let rows = [
        Row {
            name: "Ruby Net::HTTP",
            check: &["ruby", "--version"],
            command: &["ruby", "-rnet/http", "-e", "puts Net::HTTP.get(URI(ARGV[0]))"],
            marks: EVERYWHERE,
        },
        Row {
            name: "Perl HTTP::Tiny",
            check: &["perl", "-MHTTP::Tiny", "-MIO::Socket::SSL", "-e", "1"],
            command: &[
                "perl",
                "-MHTTP::Tiny",
                "-e",
                "print HTTP::Tiny->new(verify_SSL => 1)->get($ARGV[0])->{content}",
            ],
            marks: EVERYWHERE,
        },
        Row {
            name: "Perl LWP",
            check: &["perl", "-MLWP::UserAgent", "-MLWP::Protocol::https", "-e", "1"],
            command: &["perl", "-MLWP::UserAgent", "-e", "print LWP::UserAgent->new->get($ARGV[0])->decoded_content"],
            marks: [Yes, Yes, No, Yes],
        },
        Row {
            name: "PHP ext-curl",
            check: &["php", "-r", "exit(function_exists('curl_init') ? 0 : 1);"],
            command: &["php", "-r", curl],
            marks: EVERYWHERE,
        },
        Row {
            name: "PHP file_get_contents",
            check: &["php", "--version"],
            command: &["php", "-r", "echo @file_get_contents($argv[1]);"],
            marks: BASE_URL,
        },
    ];
    hold(&rows).await;
}

#[tokio::test]
async fn python_and_its_libraries() {
    /// Debian's own, for the libraries that Debian has.
    const SYSTEM: &str = "/usr/bin/python3";
    let ours = python();
    let http = installed("venv/bin/http").display().to_string();
    let pycurl = "import sys, pycurl, io; b = io.BytesIO(); c = pycurl.Curl(); c.setopt(c.URL, sys.argv[1])\n\
                  c.setopt(c.WRITEDATA, b); c.perform(); print(b.getvalue().decode())";
    let aiohttp = "import sys, aiohttp, asyncio\nasync def main():\n async with aiohttp.ClientSession(trust_env=True) as s:\n  \
                   async with s.get(sys.argv[1]) as r: print(await r.text())\nasyncio.run(main())";
    let tornado =
        "import sys\nfrom tornado.httpclient import HTTPClient\nprint(HTTPClient().fetch(sys.argv[1]).body.decode())";
    for (name, python, library, script, marks) in [
        (
            "Python urllib",
            SYSTEM,
            "urllib",
            "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())",
            EVERYWHERE,
        ),
        (
            "Python requests",
            &ours,
            "requests",
            "import sys, requests; print(requests.get(sys.argv[1]).text)",
            EVERYWHERE,
        ),
        ("Python httpx", &ours, "httpx", "import sys, httpx; print(httpx.get(sys.argv[1]).text)", EVERYWHERE),
        ("Python aiohttp", &ours, "aiohttp", aiohttp, EVERYWHERE),
        ("Python tornado", &ours, "tornado", tornado, BASE_URL),
        (
            "Python httplib2",
            SYSTEM,
            "httplib2",
            "import sys, httplib2; print(httplib2.Http().request(sys.argv[1])[1].decode())",
            EVERYWHERE,
        ),
        ("Python pycurl", SYSTEM, "pycurl", pycurl, NO_CA),
    ] {
        let import = format!("import {library}");
        hold(&[Row { name, check: &[python, "-c", &import], command: &[python, "-c", script], marks }]).await;
    }
    let command: &[&str] = &[&http, "--ignore-stdin", "--print=b"];
    hold(&[Row { name: "HTTPie", check: &[&http, "--version"], command, marks: EVERYWHERE }]).await;
}

#[tokio::test]
async fn node_and_its_libraries() {
    let modules = installed("node_modules").display().to_string();
    let s3 = "const {S3Client,GetObjectCommand:G}=require(process.argv[1]+'/@aws-sdk/client-s3');\
              new S3Client({endpoint:process.argv[2],region:'x',forcePathStyle:true,credentials:{accessKeyId:'a',secretAccessKey:'b'}})\
              .send(new G({Bucket:'b',Key:'k'})).then(r=>r.Body.transformToString()).then(console.log)";
    let undici = "const u=require(process.argv[1]+'/undici');u.setGlobalDispatcher(new u.EnvHttpProxyAgent());\
                  u.fetch(process.argv[2]).then(r=>r.text()).then(console.log)";
    for (name, library, script, marks) in [
        (
            "Node.js 20 http.get, https.get",
            "",
            "require(process.argv[2].split(':')[0]).get(process.argv[2], r => r.pipe(process.stdout))",
            BY_PRELOAD,
        ),
        ("Node.js 20 fetch", "", "fetch(process.argv[2]).then(r => r.text()).then(console.log)", BY_PRELOAD),
        (
            "superagent",
            "superagent",
            "require(process.argv[1]+'/superagent').get(process.argv[2]).then(r => console.log(r.text))",
            BY_PRELOAD,
        ),
        ("@aws-sdk/client-s3", "@aws-sdk/client-s3", s3, BY_PRELOAD),
        (
            "got",
            "got",
            "require(process.argv[1]+'/got').get(process.argv[2],{retry:0}).then(r=>console.log(r.body))",
            BY_PRELOAD,
        ),
        (
            "node-fetch",
            "node-fetch",
            "require(process.argv[1]+'/node-fetch')(process.argv[2]).then(r=>r.text()).then(console.log)",
            BY_PRELOAD,
        ),
        (
            "axios",
            "axios",
            "require(process.argv[1]+'/axios').get(process.argv[2]).then(r => console.log(r.data))",
            EVERYWHERE,
        ),
        ("undici", "undici", undici, EVERYWHERE),
    ] {
        let require = format!("require('{modules}/{library}')");
        let check: &[&str] = if library.is_empty() { &["node", "--version"] } else { &["node", "-e", &require] };
        hold(&[Row { name, check, command: &["node", "-e", script, &modules], marks }]).await;
    }
}

#[tokio::test]
async fn apt_reads_an_archive() {
    if !there_is("apt-get", &["--version"]) {
        return;
    }
    // As root apt becomes another user for what it loads, whom the proxy does not serve.
    let script = "mkdir -p lists/partial cache/archives/partial parts\n\
                  echo \"deb [trusted=yes] $1/deb ./\" > sources.list\n\
                  apt-get -qq -o APT::Sandbox::User=root -o Dir::Etc::SourceList=$PWD/sources.list -o Dir::State::Lists=$PWD/lists \
                  -o Dir::Etc::SourceParts=$PWD/parts -o Dir::Cache=$PWD/cache -o Acquire::Retries=0 update";
    for scheme in ["http", "https"] {
        let world = World::new().await;
        world.run(&["sh", "-c", script, "sh", &format!("{scheme}://api.test")]).await;
        let asked = world.api.asked();
        let asked = asked.iter().find(|asked| asked.target().ends_with("/InRelease"));
        let token = asked.and_then(|asked| asked.field("authorization"));
        assert!(token.is_some_and(|token| token.starts_with("Bearer token-")), "{scheme}: {asked:?}");
    }
}
