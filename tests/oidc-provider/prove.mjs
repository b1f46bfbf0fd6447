// Shows that the server lets in whom it should and nobody else, so that a test against it means something. Talks to it as any
// client would, with node's own TLS and jose.
//
//   node tests/oidc-provider/prove.mjs FOLDER     FOLDER holds node_modules
//
// The environment variable PROOF_CERTIFICATES is a JSON object of PEM texts: `authority`, and { certificate, key } each for
// `server` (127.0.0.1), `client` (from the authority, DNS name client.test), `self_signed` and `stranger` (neither known).

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { X509Certificate, createHash, generateKeyPairSync, randomUUID } from 'node:crypto';
import { Agent, request } from 'node:https';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath, pathToFileURL } from 'node:url';

const folder = resolve(process.argv[2]);
const require = createRequire(join(folder, 'index.js'));
const jose = await import(pathToFileURL(require.resolve('jose')).href);
const certificates = JSON.parse(process.env.PROOF_CERTIFICATES);

const RESOURCE = 'https://orders.example.com';
const SECRET = 'a secret of at least sixty-four bytes, so that it is long enough for HS512';
const KEYS = {
  RS256: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  PS256: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  ES256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  ES384: generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  EdDSA: generateKeyPairSync('ed25519'),
};

const signers = Object.entries(KEYS).map(([alg, { publicKey }]) => ({
  client_id: `signs-${alg}`,
  token_endpoint_auth_method: 'private_key_jwt',
  token_endpoint_auth_signing_alg: alg,
  jwks: { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: `key-${alg}`, use: 'sig', alg }] },
}));
const clients = [
  { client_id: 'secret-jwt', token_endpoint_auth_method: 'client_secret_jwt', client_secret: SECRET },
  ...signers,
  {
    client_id: 'tls',
    token_endpoint_auth_method: 'tls_client_auth',
    tls_client_auth_san_dns: 'client.test',
    tls_client_certificate_bound_access_tokens: true,
  },
  {
    client_id: 'self-signed',
    token_endpoint_auth_method: 'self_signed_tls_client_auth',
    tls_client_certificate_bound_access_tokens: true,
    jwks: { keys: [selfSigned()] },
  },
  {
    client_id: 'dpop',
    token_endpoint_auth_method: 'client_secret_basic',
    client_secret: 'secret',
    dpop_bound_access_tokens: true,
  },
];
const tls = { ...certificates.server, client_authorities: certificates.authority };

await proved('metadata names what there is', { tls, clients }, async ({ origin, get }) => {
  for (const kind of ['openid-configuration', 'oauth-authorization-server']) {
    const { status, body } = await get(`/.well-known/${kind}`);
    assert.equal(status, 200);
    assert.equal(body.issuer, origin);
    assert.equal(body.token_endpoint, `${origin}/token`);
    assert.equal(body.tls_client_certificate_bound_access_tokens, true);
    assert.ok(body.token_endpoint_auth_methods_supported.includes('tls_client_auth'));
    assert.ok(body.dpop_signing_alg_values_supported.includes('ES256'));
    assert.ok(body.revocation_endpoint && body.introspection_endpoint);
  }
});

await proved('a secret in the header or in the form', { tls }, async ({ token }) => {
  const basic = (id, secret) => ({ authorization: `Basic ${btoa(`${form(id)}:${form(secret)}`)}` });
  assert.equal((await token({}, basic('odd:id/+ &%', 'p@ss:w/ord+ =%&~'))).status, 200);
  assert.equal((await token({}, basic('odd:id/+ &%', 'wrong'))).body.error, 'invalid_client');
  assert.equal((await token({ client_id: 'poster', client_secret: 'p@ss:w/ord+ =%&~' })).status, 200);
  assert.equal((await token({ client_id: 'poster', client_secret: 'wrong' })).body.error, 'invalid_client');
});

await proved('assertions, each once and for this server', { tls, clients }, async ({ origin, token }) => {
  const hmac = new TextEncoder().encode(SECRET);
  for (const alg of ['HS256', 'HS512']) {
    const good = await assertion('secret-jwt', alg, hmac, origin);
    assert.equal((await token(good)).status, 200, alg);
    assert.equal((await token(good)).body.error, 'invalid_client', 'it was used before');
  }
  for (const [alg, { privateKey }] of Object.entries(KEYS)) {
    const id = `signs-${alg}`;
    assert.equal((await token(await assertion(id, alg, privateKey, origin))).status, 200, alg);
    assert.equal((await token(await assertion(id, alg, privateKey, `${origin}/token`))).status, 200, alg);
    assert.equal((await token(await assertion(id, alg, privateKey, 'https://other.test'))).body.error, 'invalid_client');
    const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    assert.equal((await token(await assertion(id, 'ES256', stranger, origin))).body.error, 'invalid_client');
  }
});

await proved('certificates, and tokens bound to them', { tls, clients }, async ({ token, get }) => {
  const { client, self_signed, stranger } = certificates;
  for (const [client_id, own] of [['tls', client], ['self-signed', self_signed]]) {
    for (const other of [undefined, stranger, client_id === 'tls' ? self_signed : client]) {
      assert.equal((await token({ client_id }, {}, other)).body.error, 'invalid_client', client_id);
    }
    for (const resource of [undefined, RESOURCE]) {
      const { status, body } = await token({ client_id, resource }, {}, own);
      assert.equal(status, 200, JSON.stringify(body));
      const bearer = { authorization: `Bearer ${body.access_token}` };
      assert.deepEqual((await get('/api/x', bearer, own)).body, { client_id, scope: null, bound: 'certificate' });
      for (const other of [undefined, stranger]) {
        const refused = await get('/api/x', bearer, other);
        assert.equal(refused.status, 401);
        assert.match(refused.fields['www-authenticate'], /^Bearer error="invalid_token"/);
      }
    }
  }
  // A resumed session is still the one of its certificate (RFC 8446 section 2.2).
  const agent = new Agent({ maxCachedSessions: 10 });
  const granted = await token({ client_id: 'tls' }, {}, { ...client, agent });
  const bearer = { authorization: `Bearer ${granted.body.access_token}` };
  const again = await get('/api/x', bearer, { ...client, agent });
  assert.deepEqual([again.status, again.resumed], [200, true]);
  const { body } = await get('/requests');
  assert.equal(body.at(-1).certificate, digest(der(client)));
});

await proved('a second port for those with certificates', { tls, clients, mtls_alias: true }, async ({ get, token, post }) => {
  const { body } = await get('/.well-known/oauth-authorization-server');
  const alias = body.mtls_endpoint_aliases.token_endpoint;
  assert.equal((await token({ client_id: 'tls' }, {}, certificates.client)).body.error, 'invalid_client');
  const granted = await post(alias, { grant_type: 'client_credentials', client_id: 'tls' }, {}, certificates.client);
  assert.equal(granted.status, 200);
  const bearer = { authorization: `Bearer ${granted.body.access_token}` };
  assert.equal((await get(new URL('/api/x', alias).href, bearer, certificates.client)).status, 200);
});

const nonces = { tls, clients, dpop_nonce: true, resource_nonce: 2 };
await proved('DPoP, with nonces at both ends', nonces, async ({ origin, token, get }) => {
  const key = await dpopKey();
  const basic = { authorization: `Basic ${btoa('dpop:secret')}` };
  const ask = async (claims, form = {}) =>
    token(form, { ...basic, dpop: await proof(key, { htm: 'POST', htu: `${origin}/token`, ...claims }) });
  assert.equal((await token({}, basic)).status, 400, 'no token without a proof');
  const first = await ask({});
  assert.deepEqual([first.status, first.body.error], [400, 'use_dpop_nonce']);
  const nonce = first.fields['dpop-nonce'];
  assert.equal((await ask({ nonce, htu: `${origin}/other` })).body.error, 'invalid_dpop_proof');
  for (const resource of [undefined, RESOURCE]) {
    const granted = await ask({ nonce }, { resource, scope: 'orders.read' });
    assert.deepEqual([granted.status, granted.body.token_type], [200, 'DPoP'], JSON.stringify(granted.body));
    await spend(key, granted.body.access_token, origin, get);
  }
});

async function spend(key, token, origin, get) {
  const htu = `${origin}/api/x`;
  const good = { htm: 'GET', htu, ath: digest(token) };
  const send = async (claims, path = '/api/x', sign = key) =>
    get(path, { authorization: `DPoP ${token}`, dpop: await proof(sign, claims) });
  const challenged = await send(good);
  assert.equal(challenged.status, 401);
  assert.match(challenged.fields['www-authenticate'], /^DPoP error="use_dpop_nonce"/);
  const nonce = challenged.fields['dpop-nonce'];
  const wrong = [
    { htm: 'POST' },
    { htu: `${htu}?q=1` },
    { ath: undefined },
    { ath: digest('other') },
    { iat: 1 },
    { jti: 'short' },
  ];
  for (const change of wrong) {
    const refused = await send({ ...good, nonce, ...change });
    assert.equal(refused.status, 401, JSON.stringify(change));
    assert.match(refused.fields['www-authenticate'], /^DPoP error="invalid_dpop_proof"/, JSON.stringify(change));
  }
  const another = await send({ ...good, nonce }, '/api/x', await dpopKey());
  assert.equal(another.body.error, 'invalid_dpop_proof');
  const bearer = await get('/api/x', { authorization: `Bearer ${token}` });
  assert.match(bearer.fields['www-authenticate'], /^DPoP error="invalid_token"/);
  // The query is no part of htu. A nonce is good for two requests; the second answer brings the next.
  const taken = await send({ ...good, nonce }, '/api/x?q=1');
  assert.deepEqual([taken.status, taken.body.bound, taken.fields['dpop-nonce']], [200, 'DPoP', undefined]);
  const last = await send({ ...good, nonce });
  assert.equal(last.status, 200);
  const next = last.fields['dpop-nonce'];
  assert.equal((await send({ ...good, nonce })).body.error, 'use_dpop_nonce');
  const spent = { ...good, nonce: next, jti: randomUUID() };
  assert.equal((await send(spent)).status, 200);
  assert.equal((await send(spent)).body.error, 'invalid_dpop_proof', 'a proof is good for one request');
  // The two uses of that nonce are gone, so the next turn begins with a challenge.
}

const two = { tls, clients, resources: [RESOURCE, 'https://other.example.com'] };
await proved('scopes, audiences and revocation', two, async ({ token, get, post, origin }) => {
  const poster = { client_id: 'poster', client_secret: 'p@ss:w/ord+ =%&~', scope: 'orders.read' };
  const none = await get('/api/x');
  assert.equal(none.status, 401);
  assert.match(none.fields['www-authenticate'], /^Bearer realm="orders", DPoP algs="ES256/);
  assert.equal((await token({ ...poster, resource: 'https://unknown.example.com' })).body.error, 'invalid_target');
  const jwt = (await token({ ...poster, resource: 'https://other.example.com' })).body.access_token;
  assert.equal(jose.decodeJwt(jwt).aud, 'https://other.example.com');
  const { access_token, expires_in } = (await token(poster)).body;
  assert.equal(expires_in, 600);
  const bearer = { authorization: `Bearer ${access_token}` };
  assert.equal((await get('/api/needs/orders.read', bearer)).status, 200);
  const scope = await get('/api/needs/orders.write', bearer);
  assert.equal(scope.status, 403);
  assert.match(scope.fields['www-authenticate'], /^Bearer error="insufficient_scope".* scope="orders.write"/);
  const { client_id, client_secret } = poster;
  assert.equal((await post(`${origin}/token/revocation`, { token: access_token, client_id, client_secret })).status, 200);
  const revoked = await get('/api/x', bearer);
  assert.equal(revoked.status, 401);
  assert.match(revoked.fields['www-authenticate'], /^Bearer error="invalid_token"/);
  assert.equal((await get('/api/x', { authorization: `Bearer ${jwt}` })).status, 401, 'a token for another audience');
  const own = (await token({ ...poster, resource: RESOURCE })).body.access_token;
  assert.equal((await get('/api/x', { authorization: `Bearer ${own}` })).status, 200);
  const broken = `${own.slice(0, -8)}AAAAAAAA`;
  assert.equal((await get('/api/x', { authorization: `Bearer ${broken}` })).status, 401);
});

// A server with this setup, for as long as the story takes.
async function proved(name, setup, story) {
  const server = join(dirname(fileURLToPath(import.meta.url)), 'server.mjs');
  const env = { ...process.env, OIDC_SETUP: JSON.stringify(setup) };
  const child = spawn(process.execPath, [server, folder], { env, stdio: ['pipe', 'pipe', 'ignore'] });
  try {
    const [line] = await once(createInterface({ input: child.stdout }));
    const origin = `https://127.0.0.1:${line}`;
    const get = (path, fields, own) => exchange('GET', new URL(path, origin), fields, undefined, own);
    const post = (url, members, fields, own) => exchange('POST', new URL(url), fields, members, own);
    const token = (members, fields, own) =>
      post(`${origin}/token`, { grant_type: 'client_credentials', ...members }, fields, own);
    await story({ origin, get, post, token });
    console.log(`ok: ${name}`);
  } catch (error) {
    console.log(`FAILED: ${name}\n${error.stack}`);
    process.exitCode = 1;
  } finally {
    child.stdin.end();
  }
}

function once(lines) {
  return new Promise((done, failed) => {
    lines.once('line', (line) => done([line]));
    lines.once('close', () => failed(new Error('the server said no port')));
  });
}

// A request on a connection of its own.
function exchange(method, url, fields = {}, members, own) {
  const written = members && new URLSearchParams(Object.entries(members).filter(([, value]) => value !== undefined));
  const identity = own && { cert: own.certificate, key: own.key };
  return new Promise((done, failed) => {
    const agent = own?.agent ?? new Agent();
    const options = { method, headers: { ...fields }, ca: certificates.authority, agent, ...identity };
    if (written) options.headers['content-type'] = 'application/x-www-form-urlencoded';
    const asking = request(url, options, (res) => {
      const parts = [];
      res.on('data', (part) => parts.push(part));
      res.on('end', () => {
        const text = Buffer.concat(parts).toString();
        const body = text ? JSON.parse(text) : undefined;
        done({ status: res.statusCode, fields: res.headers, body, resumed: asking.socket.isSessionReused() });
      });
    });
    asking.on('error', failed).end(written?.toString());
  });
}

async function assertion(id, alg, key, audience) {
  const jwt = new jose.SignJWT({ iss: id, sub: id, aud: audience, jti: randomUUID() });
  return {
    client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    client_assertion: await jwt.setProtectedHeader({ alg }).setIssuedAt().setExpirationTime('1m').sign(key),
  };
}

async function dpopKey() {
  const { publicKey, privateKey } = await jose.generateKeyPair('ES256', { extractable: true });
  return { privateKey, jwk: await jose.exportJWK(publicKey) };
}

function proof({ privateKey, jwk }, claims) {
  const jwt = new jose.SignJWT({ jti: randomUUID(), iat: Math.floor(Date.now() / 1000), ...claims });
  return jwt.setProtectedHeader({ alg: 'ES256', typ: 'dpop+jwt', jwk }).sign(privateKey);
}

function selfSigned() {
  const { publicKey } = new X509Certificate(certificates.self_signed.certificate);
  return { ...publicKey.export({ format: 'jwk' }), x5c: [der(certificates.self_signed).toString('base64')] };
}

function der({ certificate }) {
  return new X509Certificate(certificate).raw;
}

function form(text) {
  return new URLSearchParams({ text }).toString().slice('text='.length);
}

function digest(bytes) {
  return createHash('sha256').update(bytes).digest('base64url');
}
