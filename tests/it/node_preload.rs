//! `attache exec --node-preload`: what the script leaves alone, and what it says when the proxy refuses.

use crate::clients::{World, installed, there_is};
use crate::support::{Finished, Reply, Scripted};
use crate::websocket_clients::{python_of_the_tests, server};

async fn node(world: &World, options: &[&str], script: &str, arguments: &[&str]) -> Finished {
    let options = [&["exec", "--node-preload"], options, &["--", "node", "-e", script]].concat();
    world.folder.run(&[&options, arguments].concat()).await
}

#[tokio::test]
async fn a_websocket_that_connects_by_itself_goes_through() {
    let modules = installed("node_modules").display().to_string();
    if !there_is("node", &["-e", &format!("require('{modules}/ws')")]) {
        return;
    }
    let Some(python) = python_of_the_tests() else { return };
    let (_server, port) = server(&python).await;
    let world = World::around(Scripted::start(|_, _| Reply::ok("")).await, ([127, 0, 0, 1], port).into()).await;
    let large = "x".repeat(70_000);
    let script = format!(
        "const W=require('{modules}/ws');const w=new W(process.argv[1]);const said=[];\
         w.on('open',()=>{{w.send('one');w.send('{large}')}});\
         w.on('message',m=>{{said.push(m.length);if(said.length===2)w.close(1000)}});\
         w.on('error',e=>console.log(e.message));w.on('close',code=>console.log(said.join(' '),code))"
    );
    for scheme in ["ws", "wss"] {
        let finished = node(&world, &[], &script, &[&format!("{scheme}://api.test/chat")]).await;
        assert_eq!(finished.stdout, "3 70000 1000\n", "{scheme}: {finished:?}");
    }
}

#[tokio::test]
async fn connections_are_kept_and_used_again() {
    if !there_is("node", &["--version"]) {
        return;
    }
    let world = World::new().await;
    for scheme in ["http", "https"] {
        let script = format!(
            "const m=require('{scheme}');const agent=new m.Agent({{keepAlive:true,maxSockets:1}});let sockets=new Set();\
             const get=n=>n?m.get('{scheme}://api.test/v1',{{agent}},r=>{{sockets.add(r.socket);r.resume();r.on('end',()=>setImmediate(get,n-1))}})\
             :(console.log(sockets.size),agent.destroy());get(5)"
        );
        let finished = node(&world, &[], &script, &[]).await;
        assert_eq!(finished.stdout, "1\n", "{scheme}: {finished:?}");
    }
    // And by fetch, many at once, with bodies.
    let script = "Promise.all([...Array(40)].map(()=>fetch('https://api.test/v1',{method:'POST',body:'x'.repeat(50000)}).then(r=>r.text())))\
                  .then(all=>console.log(new Set(all)))";
    let finished = node(&world, &[], script, &[]).await;
    assert_eq!(finished.stdout, "Set(1) { 'got 50000' }\n", "{finished:?}");
}

#[tokio::test]
async fn what_the_proxy_refuses_is_an_error_of_the_request_and_what_is_direct_stays_so() {
    if !there_is("node", &["--version"]) {
        return;
    }
    let world = World::new().await;
    let script = "require('https').get('https://other.test/').on('error',e=>console.log(e.code,e.message));\
                  fetch('http://other.test/').catch(e=>console.log(e.cause.code,e.cause.message))";
    let finished = node(&world, &["--unmatched", "deny"], script, &[]).await;
    let mut lines: Vec<&str> = finished.stdout.lines().collect();
    lines.sort_unstable();
    let refused =
        |authority: &str| format!("ERR_PROXY_TUNNEL the proxy refuses to connect to {authority}: 403 Forbidden");
    assert_eq!(lines, [refused("other.test:443"), refused("other.test:80")], "{finished:?}");
    assert!(finished.stderr.contains("attache: other.test is refused (403)"), "{finished:?}");

    let own = Scripted::start(|_, _| Reply::ok("from here")).await;
    let script = "const u=process.argv[1];require('http').get(u,r=>r.pipe(process.stdout));fetch(u).then(r=>r.text()).then(console.log)";
    let finished = node(&world, &["--unmatched", "deny"], script, &[&own.origin()]).await;
    assert_eq!(finished.stdout.matches("from here").count(), 2, "NO_PROXY has this machine: {finished:?}");
}

#[tokio::test]
async fn the_options_and_the_modules_of_the_program_stay_as_they_are() {
    if !there_is("node", &["--version"]) {
        return;
    }
    let world = World::new().await;
    world.folder.write(
        "job.mjs",
        "import { get } from 'https'; import { connect } from 'net';\n\
         get('https://api.test/v1', r => { r.pipe(process.stdout); r.on('end', () => console.log(' ' + process.execArgv.length + typeof connect)) })",
    );
    let script = "NODE_OPTIONS=\"--no-deprecation $NODE_OPTIONS\" exec node job.mjs";
    let finished = world.folder.run(&["exec", "--node-preload", "--", "sh", "-c", script]).await;
    assert_eq!(finished.stdout, "sealing wax 0function\n", "{finished:?}");
}
