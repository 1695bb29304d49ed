// The issuer of the tests: oidc-provider on loopback, with faults on demand. tests/servers/issuer.py starts it,
// writes the first settings as one line of JSON to its standard input, and ends it by its process id.
//
//   POST /control/settings {...}   change any of `settings`
//   POST /control/fault {path, times, status, headers, body, mode}   what becomes of the next requests to `path`:
//                                  answered so; mode 'hang', 'drop' (unanswered) or 'lose' (done, then unanswered)
//   POST /control/client {id, secret, redirects, method}   register a client, or change it
//   POST /control/reset            the first settings, no faults, an empty log; consents stay
//   POST /control/revoke {account, only: 'access'}   end the consents of an account, or its access tokens alone
//   POST /control/grant {client, account, scope, redirect}   a code, as if the account had consented
//   GET  /control/log              requests of clients, oldest first; DELETE forgets them
import { randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';

console.warn = () => {}; // it warns of Node 20, of its in-memory store and of its development forms
console.info = () => {};
const { Provider } = await import('oidc-provider');

const first = await new Promise((resolve) => createInterface(process.stdin).once('line', resolve));
const usual = {
  strict: true, // using an old refresh token ends the whole consent (RFC 9700); else old ones stay good
  rotate: true, // a new refresh token at each use
  refresh: true, // refresh tokens are given at all
  accessSeconds: 3600,
  mailboxes: {}, // the mailbox that an account, or a client by itself, may open; else the account's own
  ...JSON.parse(first),
};
const settings = { ...usual };
const issuer = `http://127.0.0.1:${settings.port}`;
const GRANTS = ['authorization_code', 'refresh_token', 'client_credentials', 'urn:ietf:params:oauth:grant-type:device_code'];
const log = [];
const faults = [];

const metadata = ({ id, secret, redirects, method }) => ({
  client_id: id,
  ...(secret ? { client_secret: secret } : {}),
  token_endpoint_auth_method: secret ? method ?? 'client_secret_basic' : 'none',
  grant_types: secret ? GRANTS : GRANTS.filter((grant) => grant !== 'client_credentials'),
  response_types: ['code'],
  redirect_uris: redirects,
});
const dovecot = {
  client_id: 'dovecot', client_secret: 'dovecot', grant_types: [], response_types: [], redirect_uris: [],
};

const provider = new Provider(issuer, {
  clients: [dovecot],
  cookies: { keys: [randomBytes(16).toString('hex')] },
  scopes: ['openid', 'offline_access', 'email', 'mail'],
  claims: { openid: ['sub'], email: ['email', 'email_verified'] },
  conformIdTokenClaims: false, // who signed in stands in the ID token, as with the big providers
  pkce: { required: () => true },
  features: {
    deviceFlow: { enabled: true },
    clientCredentials: { enabled: true },
    introspection: { enabled: true, allowedPolicy: () => true },
    revocation: { enabled: true },
  },
  rotateRefreshToken: () => settings.rotate,
  issueRefreshToken: (ctx, client, code) => settings.refresh && code.scopes.has('offline_access'),
  ttl: { AccessToken: () => settings.accessSeconds, ClientCredentials: () => settings.accessSeconds },
  extraTokenClaims: (ctx, token) => {
    const name = token.accountId ?? token.clientId;
    return { mailbox: settings.mailboxes[name] ?? name };
  },
  findAccount: (ctx, id) => ({
    accountId: id,
    claims: () => ({ sub: `subject of ${id}`, email: id, email_verified: true }),
  }),
});

const consume = provider.RefreshToken.prototype.consume;
provider.RefreshToken.prototype.consume = function () { return settings.strict ? consume.call(this) : undefined; };
const given = { access_token: new Map(), refresh_token: new Map() }; // by account
for (const [kind, tokens] of Object.entries(given)) {
  provider.on(`${kind}.saved`, (token) => {
    tokens.set(token.accountId, [...(tokens.get(token.accountId) ?? []), token]);
  });
}

const text = async (request) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts).toString();
};

const control = {
  settings: async (values) => Object.assign(settings, values),
  client: async (client) => provider.Client.adapter.upsert(client.id, metadata(client)),
  async reset() {
    Object.assign(settings, usual);
    log.splice(0);
    faults.splice(0);
  },
  fault: async (fault) => faults.push({ times: 1, ...fault }),
  async revoke({ account, only }) {
    for (const token of given.access_token.get(account) ?? []) await token.destroy();
    for (const { grantId } of only === 'access' ? [] : given.refresh_token.get(account) ?? []) {
      await provider.RefreshToken.revokeByGrantId(grantId);
      await (await provider.Grant.find(grantId))?.destroy();
    }
  },
  async grant({ client, account, scope, redirect, challenge }) {
    const grant = new provider.Grant({ accountId: account, clientId: client });
    grant.addOIDCScope(scope);
    const code = new provider.AuthorizationCode({
      accountId: account, client: await provider.Client.find(client), clientId: client, grantId: await grant.save(),
      scope, redirectUri: redirect, codeChallenge: challenge, codeChallengeMethod: 'S256', gty: 'authorization_code',
      authTime: Math.floor(Date.now() / 1000), expiresWithSession: false,
    });
    return { code: await code.save() };
  },
};

provider.use(async (ctx, next) => {
  if (!ctx.path.startsWith('/control/')) return next();
  const name = ctx.path.slice('/control/'.length);
  if (name === 'log') {
    ctx.body = ctx.method === 'DELETE' ? { gone: log.splice(0).length } : log;
  } else {
    try {
      ctx.body = (await control[name](JSON.parse(await text(ctx.req)))) ?? {};
    } catch (error) {
      console.error(error);
      ctx.status = 500;
    }
  }
});

provider.use(async (ctx, next) => {
  const fault = faults.find(({ path }) => path === ctx.path);
  if (fault && --fault.times === 0) faults.splice(faults.indexOf(fault), 1);
  const entry = { path: ctx.path, method: ctx.method, fault: fault?.mode ?? fault?.status ?? null };
  log.push(entry);
  if (fault && fault.mode !== 'lose') {
    entry.form = Object.fromEntries(new URLSearchParams(await text(ctx.req)));
    if (fault.mode === 'drop') ctx.req.socket.destroy();
    if (fault.mode) await new Promise((resolve) => ctx.req.socket.once('close', resolve));
    ctx.status = fault.status ?? 200;
    ctx.set(fault.headers ?? {});
    ctx.body = fault.huge ? 'x'.repeat(fault.huge) : fault.body ?? '';
    return;
  }
  const id = ctx.get('authorization').startsWith('Basic ')
    && decodeURIComponent(Buffer.from(ctx.get('authorization').slice(6), 'base64').toString().split(':')[0]);
  await next();
  entry.form = { ...ctx.oidc?.body, ...(id ? { client_id: id } : {}) };
  entry.status = ctx.status;
  if (fault) ctx.req.socket.destroy();
});

for (const client of settings.clients) await control.client(client);
provider.on('server_error', (ctx, error) => console.error(error));
provider.listen(settings.port, '127.0.0.1', () => console.log('ready'));
