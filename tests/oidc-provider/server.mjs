// A real authorization server for tests/it/authorization_server.rs: oidc-provider, with a protected resource beside it (see
// resource.mjs), on a free port of 127.0.0.1. Prints the port on a line of its own, and ends when its stdin does. Run
// ./install.sh first.
//
//   node tests/oidc-provider/server.mjs FOLDER     FOLDER holds node_modules
//
// Without more it speaks plain http and knows the clients `odd:id/+ &%` (client_secret_basic), `poster` (client_secret_post)
// and `api` (introspection and revocation). The environment variable OIDC_SETUP, a JSON object, says what else there is;
// every member may be left out:
//
//   tls               { certificate, key, client_authorities }, PEM texts. The server speaks https and asks every client for a
//                     certificate, without insisting. `client_authorities` are those that tls_client_auth trusts;
//                     self_signed_tls_client_auth goes by the `x5c` in the client's jwks.
//   mtls_alias        true: the first port asks nobody for a certificate. A second one does; metadata names its token endpoint
//                     in `mtls_endpoint_aliases` (RFC 8705 section 5).
//   clients           more clients, in the members of RFC 7591: at least `client_id` and `token_endpoint_auth_method`; for
//                     instance `client_secret`, `jwks`, `token_endpoint_auth_signing_alg`, `tls_client_auth_san_dns` (or
//                     `_subject_dn`, as in RFC 4514), `tls_client_certificate_bound_access_tokens`, `dpop_bound_access_tokens`.
//   resources         the values of `resource` that it gives tokens for: JWTs with that audience, for five minutes.
//                     The first is the protected resource's own. Default: ["https://orders.example.com"].
//   lifetime          seconds that its other, opaque tokens live. Default: 600.
//   dpop_nonce        true: the token endpoint takes no DPoP proof without a nonce of its own (RFC 9449 section 8).
//   resource_nonce    a number: neither does the protected resource, and each of its nonces is good for so many requests; the
//                     answer to the last of them brings the next (RFC 9449 sections 8.2 and 9). Default: 0, without nonces.
//
// Besides the endpoints that the metadata names (/.well-known/openid-configuration, /.well-known/oauth-authorization-server)
// there are /api/… (the protected resource) and /requests: a JSON list of what was asked so far, each as
// { method, path, status, certificate, dpop, error }: the thumbprint of the certificate that was shown (`x5t#S256`), whether a
// DPoP field came, and the OAuth error of the answer.

import { X509Certificate, generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

import { protectedResource } from './resource.mjs';

const require = createRequire(join(resolve(process.argv[2]), 'index.js'));
const load = async (name) => import(pathToFileURL(require.resolve(name)).href);
const { default: Provider, errors } = await load('oidc-provider');
const jose = await load('jose');

const setup = JSON.parse(process.env.OIDC_SETUP ?? '{}');
const scheme = setup.tls ? 'https' : 'http';
const resources = setup.resources ?? ['https://orders.example.com'];

process.stdin.resume().on('end', () => process.exit(0));

const server = serve(!setup.mtls_alias);
const port = await listening(server);
const issuer = `${scheme}://127.0.0.1:${port}`;
const alias = setup.mtls_alias ? serve(true) : undefined;
const aliasPort = alias && (await listening(alias));

const signer = generateKeyPairSync('rsa', { modulusLength: 2048 });
const provider = new Provider(issuer, {
  jwks: { keys: [{ ...signer.privateKey.export({ format: 'jwk' }), kid: 'signer', use: 'sig', alg: 'RS256' }] },
  clients: [
    client('odd:id/+ &%', 'client_secret_basic', { client_secret: 'p@ss:w/ord+ =%&~' }),
    client('poster', 'client_secret_post', { client_secret: 'p@ss:w/ord+ =%&~' }),
    client('api', 'client_secret_basic', { client_secret: 'the-apis-own-secret' }),
    ...(setup.clients ?? []).map((metadata) =>
      client(metadata.client_id, metadata.token_endpoint_auth_method, metadata),
    ),
  ],
  scopes: ['orders.read', 'orders.write'],
  ttl: { ClientCredentials: setup.lifetime ?? 600 },
  clientAuthMethods: [
    'client_secret_basic',
    'client_secret_post',
    'client_secret_jwt',
    'private_key_jwt',
    'tls_client_auth',
    'self_signed_tls_client_auth',
    'none',
  ],
  enabledJWA: { clientAuthSigningAlgValues: algorithms(['HS', 'RS', 'PS', 'ES']).concat('EdDSA', 'Ed25519') },
  discovery: aliasPort
    ? { mtls_endpoint_aliases: { token_endpoint: `${scheme}://127.0.0.1:${aliasPort}/token` } }
    : {},
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true, allowedPolicy: async () => true },
    revocation: { enabled: true, allowedPolicy: async () => true },
    dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => setup.dpop_nonce === true },
    mTLS: {
      enabled: true,
      certificateBoundAccessTokens: true,
      selfSignedTlsClientAuth: true,
      tlsClientAuth: true,
      getCertificate: (ctx) => certificateOf(ctx.req),
      certificateAuthorized: (ctx) => ctx.req.socket.authorized === true,
      certificateSubjectMatches: (ctx, member, expected) => subjectMatches(certificateOf(ctx.req), member, expected),
    },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      // A resource makes the token a JWT for it; other places are refused.
      getResourceServerInfo: (_ctx, resource) => {
        if (!resources.includes(resource)) throw new errors.InvalidTarget();
        return { scope: 'orders.read orders.write', audience: resource, accessTokenFormat: 'jwt', accessTokenTTL: 300 };
      },
    },
  },
});

const answerTokens = provider.callback();
const answerResource = protectedResource({
  jose,
  origins: [port, aliasPort].filter(Boolean).map((each) => `${scheme}://127.0.0.1:${each}`),
  audience: resources[0],
  opaque: (token) => provider.ClientCredentials.find(token),
  signer: signer.publicKey,
  issuer,
  certificateOf,
  nonceUses: setup.resource_nonce ?? 0,
});
const asked = [];
for (const each of [server, alias].filter(Boolean)) each.on('request', answer);
console.log(port);

function answer(req, res) {
  const { pathname } = new URL(req.url, issuer);
  if (pathname === '/requests') {
    res.setHeader('content-type', 'application/json');
    res.end(JSON.stringify(asked));
    return;
  }
  const entry = { method: req.method, path: pathname, certificate: thumbprint(req), dpop: 'dpop' in req.headers };
  note(res, entry);
  (pathname.startsWith('/api/') ? answerResource : answerTokens)(req, res);
}

// Notes an answer once it is complete, with the OAuth error in it.
function note(res, entry) {
  const end = res.end.bind(res);
  res.end = (body, ...rest) => {
    let error;
    try {
      ({ error } = JSON.parse(String(body)));
    } catch {
      // Not every answer is JSON.
    }
    asked.push({ ...entry, status: res.statusCode, error });
    return end(body, ...rest);
  };
}

function serve(asks) {
  if (!setup.tls) return createServer();
  const { certificate, key, client_authorities: ca } = setup.tls;
  // A stranger's certificate is taken too: whether it is one that was registered is decided for each client.
  return createTlsServer({ cert: certificate, key, ca, requestCert: asks, rejectUnauthorized: false });
}

function listening(each) {
  return new Promise((done) => each.listen(0, '127.0.0.1', () => done(each.address().port)));
}

function client(id, method, metadata) {
  return {
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
    ...metadata,
    client_id: id,
    token_endpoint_auth_method: method,
  };
}

function algorithms(families) {
  return families.flatMap((family) => ['256', '384', '512'].map((bits) => family + bits));
}

function certificateOf(req) {
  return req.socket.getPeerX509Certificate?.();
}

function thumbprint(req) {
  const certificate = certificateOf(req);
  return certificate && Buffer.from(certificate.fingerprint256.replaceAll(':', ''), 'hex').toString('base64url');
}

// The members of RFC 8705 section 2.1.2.
function subjectMatches(certificate, member, expected) {
  if (!(certificate instanceof X509Certificate)) return false;
  if (member === 'tls_client_auth_subject_dn') {
    return certificate.subject.split('\n').reverse().join(',') === expected;
  }
  const kind = { san_dns: 'DNS', san_uri: 'URI', san_ip: 'IP Address', san_email: 'email' };
  const wanted = `${kind[member.replace('tls_client_auth_', '')]}:${expected}`;
  return (certificate.subjectAltName ?? '').split(', ').includes(wanted);
}
