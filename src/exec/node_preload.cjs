// Brings Node.js programs through the proxy that HTTP_PROXY, HTTPS_PROXY and NO_PROXY name, whatever library they use. Node.js reads
// these itself from 22.21 and 24.5 on, and then only for requests without an Agent of their own.
//
// Loaded by NODE_OPTIONS=--require before the program. Connections of HTTP requests are made by CONNECT, also for http://, so that
// nothing about the requests themselves changes. What makes connections itself and asks for no HTTP request (databases, mail) is
// left alone, and so is what brings a proxy of its own.
'use strict';

const http = require('http');
const https = require('https');
const net = require('net');
const tls = require('tls');
const { Duplex } = require('stream');

const CONNECT_TIMEOUT = 30_000;

const plain = { connect: net.connect, secure: tls.connect };

// ---- which connections go through the proxy

function variable(name) {
  return process.env[name.toLowerCase()] || process.env[name] || '';
}

function proxyFor(secure) {
  const text = variable(secure ? 'HTTPS_PROXY' : 'HTTP_PROXY');
  try {
    const url = new URL(text);
    return url.protocol === 'http:' ? url : null;
  } catch {
    return null;
  }
}

function number(address) {
  return address.split('.').reduce((sum, octet) => sum * 256 + Number(octet), 0);
}

function covers(entry, host, port) {
  if (entry === '*') return true;
  const network = /^([\d.]+)\/(\d+)$/.exec(entry);
  if (network) {
    const size = 2 ** (32 - Number(network[2]));
    return net.isIPv4(host) && Math.floor(number(host) / size) === Math.floor(number(network[1]) / size);
  }
  const [, name, only] = net.isIPv6(entry) ? [null, entry] : /^\[?(.*?)\]?(?::(\d+))?$/.exec(entry);
  if (only && Number(only) !== port) return false;
  const suffix = name.replace(/^\*?\./, '');
  return host === suffix || host.endsWith('.' + suffix);
}

// Where a connection is to go, and the proxy for it; nothing if it goes there directly.
function route(options, secure) {
  const proxy = proxyFor(secure);
  if (!proxy || !options || options.socketPath || options.socket) return null;
  const host = String(options.host || options.hostname || 'localhost').replace(/^\[|\]$/g, '').toLowerCase();
  const port = Number(options.port) || (secure ? 443 : 80);
  const isProxy = port === Number(proxy.port || 80) && host === proxy.hostname.replace(/^\[|\]$/g, '');
  const direct = variable('NO_PROXY').toLowerCase().split(/[\s,]+/).filter(Boolean);
  if (isProxy || direct.some((entry) => covers(entry, host, port))) return null;
  return { proxy, authority: `${net.isIPv6(host) ? `[${host}]` : host}:${port}`, host };
}

// ---- a connection through it

// Calls back once, with an error or a socket on which the server is reached.
function tunnel({ proxy, authority }, done) {
  const headers = { host: authority };
  if (proxy.username) {
    const pair = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
    headers['proxy-authorization'] = `Basic ${Buffer.from(pair).toString('base64')}`;
  }
  const at = { host: proxy.hostname.replace(/^\[|\]$/g, ''), port: Number(proxy.port || 80) };
  const request = http.request({
    ...at, method: 'CONNECT', path: authority, headers, timeout: CONNECT_TIMEOUT, createConnection: () => plain.connect(at),
  });
  const fail = (error) => done(Object.assign(error, { code: error.code || 'ERR_PROXY_TUNNEL' }));
  request.once('connect', (answer, socket, head) => {
    request.removeListener('error', fail);
    if (answer.statusCode !== 200) {
      socket.destroy();
      fail(new Error(`the proxy refuses to connect to ${authority}: ${answer.statusCode} ${answer.statusMessage}`));
      return;
    }
    socket.setTimeout(0);
    if (head.length > 0) socket.unshift(head);
    done(null, socket);
  });
  request.once('timeout', () => request.destroy(new Error(`the proxy does not answer about ${authority}`)));
  request.once('error', fail);
  request.end();
}

// The server's name, where TLS is not told one. An address has none.
function named(options, host) {
  return options.servername === undefined && !net.isIP(host) ? host : options.servername;
}

// ---- requests by an Agent, Node's own or the program's

function throughAgent(agent, secure) {
  const own = agent.prototype.createConnection;
  agent.prototype.createConnection = function createConnection(...args) {
    const [options, done] = args;
    // Newer versions read the variables for this Agent (NODE_USE_ENV_PROXY, or the program asked for it).
    const itself = this.options && this.options.proxyEnv;
    const to = !itself && typeof options === 'object' && typeof done === 'function' ? route(options, secure) : null;
    if (!to) return own.apply(this, args);
    tunnel(to, (error, socket) => {
      if (error) return done(error);
      if (!secure) return done(null, socket);
      const opened = own.call(this, { ...options, path: undefined, socket, servername: named(options, to.host) });
      return done(null, opened);
    });
    return undefined;
  };
}

throughAgent(http.Agent, false);
throughAgent(https.Agent, true);

// ---- requests that connect by themselves (`ws` does), where a socket is wanted at once: one that opens when the tunnel does

class Later extends Duplex {
  constructor(to) {
    super();
    this.connecting = true;
    this.wanted = [];
    tunnel(to, (error, socket) => {
      if (error) return this.destroy(error);
      if (this.destroyed) return socket.destroy();
      this.socket = socket;
      this.connecting = false;
      socket.on('data', (chunk) => { if (!this.push(chunk)) socket.pause(); });
      socket.on('end', () => this.push(null));
      socket.on('error', (failed) => this.destroy(failed));
      socket.on('close', () => this.destroy());
      socket.on('timeout', () => this.emit('timeout'));
      for (const wanted of this.wanted.splice(0)) wanted(socket);
      this.emit('connect');
      this.emit('ready');
    });
  }

  // Now, or as soon as there is a socket.
  on_socket(wanted) {
    if (this.socket) wanted(this.socket);
    else this.wanted.push(wanted);
    return this;
  }

  _read() { if (this.socket) this.socket.resume(); }
  _write(chunk, encoding, done) { this.on_socket((socket) => socket.write(chunk, encoding, done)); }
  _final(done) { this.on_socket((socket) => socket.end(done)); }
  _destroy(error, done) { if (this.socket) this.socket.destroy(); done(error); }
  setNoDelay(...args) { return this.on_socket((socket) => socket.setNoDelay(...args)); }
  setKeepAlive(...args) { return this.on_socket((socket) => socket.setKeepAlive(...args)); }
  setTimeout(time, heard) {
    if (heard && time > 0) this.once('timeout', heard);
    return this.on_socket((socket) => socket.setTimeout(time));
  }
  ref() { return this.on_socket((socket) => socket.ref()); }
  unref() { return this.on_socket((socket) => socket.unref()); }
}

// Only what an HTTP request was made with has a way to connect among its options.
function ofRequest(args) {
  const options = args[0];
  return options && typeof options === 'object' && typeof options.createConnection === 'function' ? options : null;
}

net.connect = net.createConnection = function connect(...args) {
  const options = ofRequest(args);
  const to = options && route(options, false);
  return to ? new Later(to) : plain.connect.apply(this, args);
};

tls.connect = function connect(...args) {
  const options = ofRequest(args);
  const to = options && route(options, true);
  if (!to) return plain.secure.apply(this, args);
  return plain.secure({ ...options, path: undefined, socket: new Later(to), servername: named(options, to.host) });
};

// ---- fetch, and what else goes by undici's dispatcher

function throughDispatcher() {
  const key = Symbol.for('undici.globalDispatcher.1');
  void globalThis.Response; // Node loads its undici when it is first asked for.
  const before = globalThis[key];
  if (!before || before.constructor.name !== 'Agent') return;
  const connect = ({ hostname, port, protocol, servername }, done) => {
    const secure = protocol === 'https:';
    const options = { host: hostname, port };
    const to = route(options, secure);
    const finish = (error, socket) => {
      if (error) return done(error, null);
      if (!secure) return done(null, socket);
      const host = hostname.replace(/^\[|\]$/g, '');
      const opened = plain.secure({ socket, servername: servername || named({}, host), ALPNProtocols: ['http/1.1'] });
      opened.once('secureConnect', () => { opened.removeListener('error', done); done(null, opened); });
      opened.once('error', done);
    };
    if (to) return tunnel(to, finish);
    const host = hostname.replace(/^\[|\]$/g, '');
    const socket = plain.connect({ host, port: Number(port) || (secure ? 443 : 80) });
    const failed = (error) => finish(error);
    socket.once('error', failed);
    socket.once('connect', () => { socket.removeListener('error', failed); finish(null, socket); });
  };
  globalThis[key] = new before.constructor({ connect });
}

if (proxyFor(false) || proxyFor(true)) {
  throughDispatcher();
  require('module').syncBuiltinESMExports();
}
