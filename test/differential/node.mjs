// Says what Node's usual parsers hold: node.mjs multer|formidable NAME...
// Both read urlencoded bodies with body-parser and qs, as Express does; multipart
// ones with busboy and append-field, as multer does, or with formidable.
import { Readable, Writable } from 'node:stream';
import querystring from 'node:querystring';
import appendField from 'append-field';
import bodyParser from 'body-parser';
import busboy from 'busboy';
import formidable from 'formidable';
import qs from 'qs';

const [which, ...names] = process.argv.slice(2);
const hex = (s) => Buffer.from(s).toString('hex');

// readings: by the whole name, where an application does without nesting, and
// by its steps.
function readings(from, name) {
  const own = (v, step) => (v && typeof v === 'object' && Object.hasOwn(v, step) ? v[step] : undefined);
  const found = [own(from, name), name.replaceAll(']', '').split('[').reduce(own, from)];
  return found.flatMap((v) => (Array.isArray(v) ? [v[0], v.at(-1)] : [v])).filter((v) => typeof v === 'string').map(hex);
}

const run = (middleware, req) => new Promise((resolve, reject) => middleware(req, {}, (err) => (err ? reject(err) : resolve())));
const urlencoded = [bodyParser.urlencoded({ extended: true }), bodyParser.urlencoded({ extended: false })];
const json = bodyParser.json();

const sink = () => new Writable({ write: (_chunk, _encoding, done) => done() }); // files are not kept

const parsers = {
  multer: (req) => new Promise((resolve, reject) => {
    const body = Object.create(null);
    const b = busboy({ headers: req.headers });
    b.on('field', (name, value) => name && appendField(body, name, value));
    b.on('file', (_, file) => file.resume());
    b.on('error', reject).on('close', () => resolve(body));
    req.pipe(b);
  }),
  formidable: async (req) => (await formidable({ fileWriteStreamHandler: sink, allowEmptyFiles: true, minFileSize: 0 }).parse(req))[0],
};

// What a parser throws where nothing catches it ends an application; here the
// next request comes.
let fell = () => {};
process.on('uncaughtException', (e) => fell(e));

async function answer(type, query, body) {
  const request = () => Object.assign(Readable.from([body]), {
    method: 'POST', url: '/?' + query,
    headers: { ...(type === null ? {} : { 'content-type': type }), 'content-length': String(body.length) },
  });
  const out = { query: {}, body: {}, json: {} };
  const add = (source, from) => {
    for (const name of names) {
      const list = readings(from, name);
      if (list.length) out[source][name] = [...(out[source][name] ?? []), ...list];
    }
  };
  add('query', qs.parse(query));
  add('query', querystring.parse(query));
  const fails = (e) => { out.error = String(e); }; // an application may have another parser only
  const read = (middleware) => {
    const req = request();
    return run(middleware, req).then(() => req.body, fails);
  };
  if (type?.trimStart().toLowerCase().startsWith('multipart/')) add('body', await parsers[which](request()).catch(fails));
  for (const parse of urlencoded) add('body', await read(parse));
  const object = await read(json);
  for (const name of names) if (['string', 'number'].includes(typeof object?.[name])) out.json[name] = [hex(String(object[name]))];
  return out;
}

let buffered = Buffer.alloc(0);
for await (const chunk of process.stdin) {
  buffered = Buffer.concat([buffered, chunk]);
  for (;;) {
    if (buffered.length < 12) break;
    const sizes = [0, 4, 8].map((at) => buffered.readInt32BE(at));
    const total = sizes.reduce((sum, n) => sum + Math.max(n, 0), 12);
    if (buffered.length < total) break;
    let at = 12;
    const [type, query, body] = sizes.map((n) => (n < 0 ? null : buffered.subarray(at, at += n)));
    buffered = buffered.subarray(total);
    const out = await Promise.race([
      answer(type && type.toString('latin1'), query.toString('latin1'), body).catch((e) => ({ error: String(e) })),
      new Promise((resolve) => { fell = (e) => resolve({ error: String(e) }); }),
    ]);
    const text = Buffer.from(JSON.stringify(out));
    const size = Buffer.alloc(4);
    size.writeInt32BE(text.length);
    process.stdout.write(Buffer.concat([size, text]));
  }
}
