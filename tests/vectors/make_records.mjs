// An independent implementation of the sealed record, version 2, and the key file, version 1, after docs/encryption.md.
// Prints the vectors of records.json. Keys and salts are fixed: nothing here protects anything.
import { createCipheriv, createHash, createHmac } from "node:crypto";

const expand = (key, info, length) => {
  let block = Buffer.alloc(0), okm = Buffer.alloc(0);
  for (let i = 1; okm.length < length; i++) {
    block = createHmac("sha256", key).update(Buffer.concat([block, info, Buffer.from([i])])).digest();
    okm = Buffer.concat([okm, block]);
  }
  return okm.subarray(0, length);
};

const keyId = (key) => expand(key, Buffer.from("mailkeep/key-id"), 8);

const u = (n, bytes) => { const b = Buffer.alloc(bytes); b.writeUIntBE(n, 0, bytes); return b; };

const associated = (fields) =>
  Buffer.concat(fields.flatMap((f) => { const b = Buffer.isBuffer(f) ? f : Buffer.from(f, "utf8"); return [u(b.length, 4), b]; }));

const pad = (secret) => {
  const framed = Buffer.concat([u(secret.length, 2), secret]);
  const size = [64, 256, 1024, 4096, 16384].find((s) => s >= framed.length);
  return Buffer.concat([framed, Buffer.alloc(size - framed.length)]);
};

const seal = (key, secret, fields, salt) => {
  const purpose = Buffer.from(fields[0]);
  const info = Buffer.concat([Buffer.from("mailkeep/seal/1"), u(purpose.length, 1), purpose, salt]);
  const okm = expand(key, info, 64);
  const header = Buffer.concat([Buffer.from([2, 1]), keyId(key), salt, okm.subarray(32)]);
  const cipher = createCipheriv("aes-256-gcm", okm.subarray(0, 32), Buffer.alloc(12));
  cipher.setAAD(Buffer.concat([header, associated(fields)]));
  return Buffer.concat([header, cipher.update(pad(secret)), cipher.final(), cipher.getAuthTag()]);
};

const keyFile = ({ keys, generation, release, instance }) => {
  const body = Buffer.concat([
    Buffer.from([0x89, 0x4d, 0x4b, 0x59, 0x0d, 0x0a, 0x1a, 0x0a]),
    Buffer.from([1, release ? 1 : 0]), u(keys.length, 2), release ?? Buffer.alloc(16), instance,
    u(0, 2), u(generation, 6),
    ...keys.map(({ key, state }) => Buffer.concat([Buffer.from([state, 1]), Buffer.alloc(6), keyId(key), key])),
  ]);
  return Buffer.concat([body, createHash("sha256").update(body).digest()]);
};

const bytes = (label, n) => createHash("sha512").update(label).digest().subarray(0, n);
const key = bytes("key", 32), older = bytes("older key", 32), instance = bytes("instance", 16);

// What a record is bound to behind label and instance id, in this order.
const place = (over = {}) => ({
  account: "4c7e9a52-1f0b-4c8e-9d3a-6b1f2a3c4d5e", direction: "in", protocol: "imap",
  host: "imap.example.org", port: "993", security: "tls", username: "support@example.org", auth_method: "plain",
  token_url: "", address: "support@example.org", kind: "password", ...over,
});
const account = place().account, uid = bytes("uid", 16).toString("hex"), app = bytes("app", 16).toString("hex");
const oauth = [
  { table: "oauth_app", uid: app, name: "Büro 365", provider: "microsoft", tenant: "contoso.example", issuer: "",
    client_id: "0f1e2d3c", scopes: "", access: "delegated", kind: "client-secret" },
  { table: "oauth_app", uid: app, name: "Eigener", provider: "issuer", tenant: "", issuer: "https://id.example.org/",
    client_id: "mailkeep", scopes: "openid mail:read", access: "application", kind: "client-secret" },
  { table: "consent", uid, app, account, signs_in_as: "", subject: "tid,oid", kind: "refresh-token" },
  { table: "consent", uid, app, account, signs_in_as: "müller@example.org", subject: "", kind: "refresh-token" },
  { table: "pending", uid: createHash("sha256").update("state").digest("hex"), kind: "pending" },
];
const reference = (kind, over = {}) => place({ kind, ...over });
const sealed = (label, fields, secret, salt) => ({ secret, label, fields,
  record: seal(key, Buffer.from(secret, "utf8"), [label, instance, ...Object.values(fields)], bytes(salt, 24)).toString("hex") });

const secrets = ["x", " leading and trailing ", "Grüße 🗝️", "\"quotes\" \\back\\slashes %s %00", "a".repeat(62),
  "a".repeat(63), "b".repeat(1024), "c".repeat(16382)];
const records = secrets.map((secret, i) => {
  const p = place(i % 2 ? { host: "xn--mller-kva.example", port: "143", security: "starttls", username: "müller" } : {});
  return sealed("mailkeep/mail", p, secret, `salt ${i}`);
});
records.push(
  sealed("mailkeep/mail", reference("consent", { auth_method: "oauth" }), uid, "salt of a consent's mailbox"),
  sealed("mailkeep/mail", reference("reference"), "support.imap_1", "salt of a reference"),
  ...["client secret ~8Q", "", "0.AX" + "r".repeat(1500), "", "{\"state\": \"s\"}"].map((secret, i) =>
    sealed("mailkeep/oauth", oauth[i], secret, `salt of ${i}`)),
);
const files = [
  { keys: [{ key, state: 1 }], generation: 1 },
  { keys: [{ key: older, state: 2 }, { key, state: 1 }], generation: 7 },
  { keys: [{ key, state: 1 }], generation: 2, release: bytes("release", 16) },
].map((f) => ({
  generation: f.generation, release: f.release?.toString("hex") ?? null,
  keys: f.keys.map((k) => ({ key: k.key.toString("hex"), id: keyId(k.key).toString("hex"), state: k.state })),
  file: keyFile({ ...f, instance }).toString("hex"),
}));

console.log(JSON.stringify({ key: key.toString("hex"), instance: instance.toString("hex"), records, files }, null, 1));
