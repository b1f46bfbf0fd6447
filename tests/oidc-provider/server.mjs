// A real authorization server for tests/it/authorization_server.rs: oidc-provider with a few clients, on a free port.
// Prints the port on a line of its own, and ends when its stdin does. Run ./install.sh first.
//
//   node tests/oidc-provider/server.mjs FOLDER     FOLDER holds node_modules

import { createRequire } from 'node:module';
import { createServer } from 'node:http';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const require = createRequire(join(resolve(process.argv[2]), 'index.js'));
const { default: Provider, errors } = await import(pathToFileURL(require.resolve('oidc-provider')).href);

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const client = (id, secret, method) => ({
    client_id: id,
    client_secret: secret,
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
    token_endpoint_auth_method: method,
    introspection_endpoint_auth_method: method,
  });
  const provider = new Provider(issuer, {
    clients: [
      client('odd:id/+ &%', 'p@ss:w/ord+ =%&~', 'client_secret_basic'),
      client('poster', 'p@ss:w/ord+ =%&~', 'client_secret_post'),
      client('api', 'the-apis-own-secret', 'client_secret_basic'),
    ],
    scopes: ['orders.read', 'orders.write'],
    ttl: { ClientCredentials: 600 },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: async () => true },
      revocation: { enabled: true, allowedPolicy: async () => true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => undefined,
        // A resource makes the token a JWT for it; other places are refused.
        getResourceServerInfo: (_ctx, resource) => {
          if (resource !== 'https://orders.example.com') throw new errors.InvalidTarget();
          return { scope: 'orders.read orders.write', audience: resource, accessTokenFormat: 'jwt', accessTokenTTL: 300 };
        },
      },
    },
  });
  server.on('request', provider.callback());
  console.log(server.address().port);
});

process.stdin.resume().on('end', () => process.exit(0));
