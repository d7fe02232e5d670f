// Pages of other origins: they sign in by scripts (people P7), post answers of an
// identity provider (P8), and hold frames (P12).
//
//   node origins.mjs GATE SIBLING UNLISTED-SIBLING PROVIDER UNLISTED-PROVIDER PHONES PICTURES
//
// SIBLING is of the gate's site, PROVIDER of another one.
import { check, end, launch, leads, phones, pictures } from './chromium.mjs';

const [gate, sibling, unlistedSibling, provider, unlistedProvider, phonesAddress, folder] = process.argv.slice(2);
const picture = pictures(folder);
const browser = await launch();
const texts = phones(phonesAddress);
const code = async () => (await texts()).codes.alice;
const shown = async (page) => page.content().catch(() => '');

async function signIn(page, path) {
  await page.goto(gate + path);
  await page.fill('[name=user]', 'alice');
  await page.fill('[name=password]', 'Alice-pw-1');
  await leads(page, () => page.click('button'));
}

// A script of another origin: what it is told of a call, or that it failed.
const call = (page, path, body) => page.evaluate(async ([address, sent]) => {
  try {
    const res = await fetch(address, { credentials: 'include', ...sent && { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(sent) } });
    return { status: res.status, mark: res.headers.get('X-Mfa'), body: await res.text() };
  } catch (e) { return { failed: e.message }; }
}, [gate + path, body]);

for (const [name, origin, may] of [['a listed sibling', sibling, true], ['a sibling that is not listed', unlistedSibling, false]]) {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(origin);
  const before = (await texts()).sent;
  const login = await call(page, '/api/login', { user: 'alice', password: 'Alice-pw-1' });
  const refused = await call(page, '/api/report');
  if (!may) {
    check(`P7 ${name} is told nothing`, login.failed && refused.failed, JSON.stringify([login, refused]));
    check(`P7 ${name} sends no text`, (await texts()).sent === before);
    await context.close();
    continue;
  }
  check(`P7 ${name} reads the challenge`, login.status === 403 && login.mark === 'challenge' && JSON.parse(login.body).SecondFactorAuthentication, JSON.stringify(login));
  check(`P7 ${name} reads a refusal`, refused.status === 403, JSON.stringify(refused));
  const wrong = await call(page, '/mfa/verify', { otp: '1' });
  check(`P7 ${name} reads that the code is wrong`, wrong.status === 400 && wrong.body.includes('malformed_code'), JSON.stringify(wrong));
  const right = await call(page, '/mfa/verify', { otp: await code(), release: 'answer' });
  check(`P7 ${name} gets the application's answer`, right.status === 200 && right.mark === 'released', JSON.stringify(right));
  const status = await call(page, '/mfa/status');
  check(`P7 ${name} has the session`, status.status === 200 && JSON.parse(status.body).level === 'verified', JSON.stringify(status));
  const settings = await call(page, '/mfa/settings');
  check(`P7 ${name} does not see the settings`, settings.failed, JSON.stringify(settings));
  await context.close();
}

for (const scripts of [true, false]) {
  for (const encoding of ['application/x-www-form-urlencoded', 'multipart/form-data']) {
    for (const [name, origin, finds] of [['a listed provider', provider, true], ['a provider that is not listed', unlistedProvider, false]]) {
      const context = await browser.newContext({ viewport: { width: 320, height: 640 }, javaScriptEnabled: scripts });
      const page = await context.newPage();
      await page.goto(gate + '/acs');
      await page.goto(`${origin}/post?to=${encodeURIComponent(`${gate}/acs?x=1`)}&as=${encodeURIComponent(encoding)}`);
      if (scripts && finds) {
        await page.click('button');
        await page.waitForFunction(() => document.title === 'Callback');
      } else {
        await leads(page, () => page.click('button'));
      }
      if (!scripts && finds) {
        check('P8 without scripts there is a button', await page.locator('main button').count() === 1 && !(await shown(page)).includes('session found'));
        if (encoding.startsWith('multipart')) await page.screenshot({ path: picture('again') });
        await leads(page, () => page.click('main button'));
      }
      const says = await page.innerText('#says');
      const what = `P8 ${name}, ${encoding}, ${scripts ? 'with' : 'without'} scripts`;
      check(`${what}: the session is ${finds ? 'found' : 'not'}`, says.startsWith(finds ? 'session found' : 'no session'), says);
      if (finds) check(`${what}: what was posted is the same`, says.endsWith('as it was posted, once'), says);
      await context.close();
    }
  }
}

{
  const context = await browser.newContext({ viewport: { width: 320, height: 640 }, locale: 'en-GB' });
  const page = await context.newPage();
  await page.goto(`${provider}/frame?of=${encodeURIComponent(`${gate}/report`)}`);
  const frame = page.frames()[1];
  check('P12 a frame of another site shows the help', (await frame.locator('h1').innerText().catch(() => '')) === 'One more step', await frame.content().catch((e) => e.message));
  check('P12 without a form', await frame.locator('form, input').count() === 0);
  await leads(page, () => frame.click('a'));
  check('P12 its link leads out of the frame', page.url() === `${gate}/mfa`, page.url());
  await signIn(page, '/report');
  for (const [site, origin] of [['another site', provider], ['this site', sibling]]) {
    for (const path of ['/mfa', '/mfa/recover', '/mfa/settings']) {
      await page.goto(`${origin}/frame?of=${encodeURIComponent(gate + path)}`);
      const forms = await page.frames()[1].locator('form, input').count().catch(() => 0);
      check(`P12 ${path} has no form in a frame of ${site}`, forms === 0);
    }
  }
  await context.close();
}

await browser.close();
end();
