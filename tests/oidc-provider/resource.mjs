// An API that accepts only the tokens of the authorization server beside it, and only from whom they are bound to.
//
// It answers 200 with { client_id, scope, bound } to any method on /api/…, and to /api/needs/SCOPE only if the token has that
// scope. Everything else is refused as RFC 6750 section 3 and RFC 9449 section 7.1 say: 401 with a challenge, 403 for the
// scope. It checks
//
//   - opaque tokens with the server itself (revoked and expired ones are unknown there); JWTs by signature, `iss`, `aud`, `exp`
//   - `cnf.x5t#S256` against the certificate of this very connection (RFC 8705 section 3)
//   - `cnf.jkt` against the key of a DPoP proof, and the proof by RFC 9449 section 4.3: one field, `typ`, `alg`, `jwk`,
//     signature, `htm`, `htu`, `iat`, `jti` used once, `ath`, and `nonce` where it wants one

import { createHash, randomBytes } from 'node:crypto';

const ALGORITHMS = ['ES256', 'ES384', 'EdDSA', 'Ed25519', 'RS256', 'PS256'];
const PROOF_SECONDS = 60;

class Refusal extends Error {
  constructor(status, scheme, error, description, rest = {}) {
    super(description);
    Object.assign(this, { status, scheme, error, rest });
  }
}

export function protectedResource({ jose, origins, audience, opaque, signer, issuer, certificateOf, nonceUses }) {
  const seen = new Set();
  const nonces = nonceUses > 0 ? new Nonces(nonceUses) : undefined;

  return async (req, res) => {
    try {
      const granted = await authorize(req, res);
      send(res, 200, granted);
    } catch (refusal) {
      if (!(refusal instanceof Refusal)) {
        send(res, 500, { error: String(refusal?.stack ?? refusal) });
        return;
      }
      res.setHeader('www-authenticate', challenge(refusal));
      send(res, refusal.status, { error: refusal.error, error_description: refusal.message });
    }
  };

  async function authorize(req, res) {
    const { pathname } = new URL(req.url, origins[0]);
    const { scheme, token } = presented(req);
    const grant = token.split('.').length === 3 ? await jwt(token, scheme) : await known(token, scheme);
    if (grant.x5t && grant.x5t !== thumbprint(certificateOf(req))) {
      throw new Refusal(401, scheme, 'invalid_token', 'the token is bound to another certificate');
    }
    if (grant.jkt) {
      if (scheme !== 'DPoP') throw new Refusal(401, 'DPoP', 'invalid_token', 'the token is bound to a DPoP key');
      await proof(req, res, token, grant.jkt);
    } else if (scheme === 'DPoP') {
      throw new Refusal(401, 'DPoP', 'invalid_token', 'the token is not bound to a DPoP key');
    }
    const [, needed] = /^\/api\/needs\/(.+)$/.exec(pathname) ?? [];
    if (needed && !(grant.scope ?? '').split(' ').includes(needed)) {
      throw new Refusal(403, scheme, 'insufficient_scope', 'the token has not the scope', { scope: needed });
    }
    const bound = grant.jkt ? 'DPoP' : grant.x5t ? 'certificate' : 'none';
    return { client_id: grant.client_id, scope: grant.scope ?? null, bound };
  }

  async function known(token, scheme) {
    const found = await opaque(token);
    if (!found) throw new Refusal(401, scheme, 'invalid_token', 'the token is unknown, expired or revoked');
    return { client_id: found.clientId, scope: found.scope, x5t: found['x5t#S256'], jkt: found.jkt };
  }

  async function jwt(token, scheme) {
    const wanted = { issuer, audience, typ: 'at+jwt', algorithms: ['RS256'] };
    const { payload } = await jose.jwtVerify(token, signer, wanted).catch((cause) => {
      throw new Refusal(401, scheme, 'invalid_token', `the token is not valid: ${cause.code}`);
    });
    const { cnf = {}, client_id, scope } = payload;
    return { client_id, scope, x5t: cnf['x5t#S256'], jkt: cnf.jkt };
  }

  async function proof(req, res, token, jkt) {
    const bad = (why) => new Refusal(401, 'DPoP', 'invalid_dpop_proof', why);
    const fields = req.headersDistinct.dpop ?? [];
    if (fields.length !== 1) throw bad(`there are ${fields.length} DPoP fields`);
    const wanted = { algorithms: ALGORITHMS, typ: 'dpop+jwt' };
    const { payload, protectedHeader } = await jose.jwtVerify(fields[0], jose.EmbeddedJWK, wanted).catch((cause) => {
      throw bad(`the proof is not valid: ${cause.code ?? cause.message}`);
    });
    if ('d' in protectedHeader.jwk) throw bad('the proof shows a private key');
    if (payload.htm !== req.method) throw bad('htm is another method');
    // As the caller of this server wrote it, without query and fragment.
    const target = new URL(req.url, `${origins[0].split(':')[0]}://${req.headers.host}`);
    if (!origins.includes(target.origin)) throw bad('Host is none of this server');
    if (payload.htu !== target.origin + target.pathname) throw bad(`htu is not ${target.origin}${target.pathname}`);
    if (payload.ath !== digest(token)) throw bad('ath is not the digest of the token');
    if ((await jose.calculateJwkThumbprint(protectedHeader.jwk)) !== jkt) throw bad('the key is not the one of the token');
    if (typeof payload.jti !== 'string' || payload.jti.length < 16) throw bad('jti is missing or short');
    if (!(Math.abs(Date.now() / 1000 - payload.iat) <= PROOF_SECONDS)) throw bad('iat is not now');
    if (nonces && !nonces.take(payload.nonce, res)) {
      throw new Refusal(401, 'DPoP', 'use_dpop_nonce', 'the proof needs a nonce of this server');
    }
    // Last, so that a proof refused for something else is not spent.
    if (seen.has(payload.jti)) throw bad('jti was used before');
    seen.add(payload.jti);
  }
}

function presented(req) {
  const fields = req.headersDistinct.authorization ?? [];
  if (fields.length === 0) throw new Refusal(401, 'Bearer', undefined, 'there is no token');
  const [, scheme, token] = /^(Bearer|DPoP) +([-A-Za-z0-9._~+/]+=*)$/i.exec(fields[0]) ?? [];
  if (fields.length > 1 || !token) throw new Refusal(400, 'Bearer', 'invalid_request', 'Authorization is malformed');
  return { scheme: scheme.toLowerCase() === 'dpop' ? 'DPoP' : 'Bearer', token };
}

// One scheme for a refused token, both where there was none.
function challenge({ scheme, error, message, rest }) {
  const algorithms = `algs="${ALGORITHMS.join(' ')}"`;
  if (!error) return `Bearer realm="orders", DPoP ${algorithms}`;
  const parameters = { error, error_description: message, ...rest };
  const written = Object.entries(parameters).map(([name, value]) => `${name}="${value}"`);
  return `${scheme} ${(scheme === 'DPoP' ? [...written, algorithms] : written).join(', ')}`;
}

// One nonce at a time, each for so many requests.
class Nonces {
  #current = fresh();
  #left;
  #uses;

  constructor(uses) {
    this.#uses = uses;
    this.#left = uses;
  }

  // True if it is the current one; the next is said where it was the last time, and the current one where it is not it.
  take(nonce, res) {
    const known = nonce === this.#current;
    if (known) this.#left -= 1;
    if (this.#left === 0) {
      this.#current = fresh();
      this.#left = this.#uses;
    }
    if (nonce !== this.#current) res.setHeader('dpop-nonce', this.#current);
    return known;
  }
}

function fresh() {
  return randomBytes(16).toString('base64url');
}

function digest(text) {
  return createHash('sha256').update(text).digest('base64url');
}

function thumbprint(certificate) {
  return certificate && createHash('sha256').update(certificate.raw).digest('base64url');
}

function send(res, status, body) {
  res.statusCode = status;
  res.setHeader('content-type', 'application/json');
  res.end(JSON.stringify(body));
}
