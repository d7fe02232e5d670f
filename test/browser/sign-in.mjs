// Walks a person's way into an application and out of it, in a real browser:
// first without the gate, to know how the application looks, where it leads and
// what it complains about, and then through the gate.
//
//   node sign-in.mjs NAME URL PROXY PHONES PICTURES
//
// PROXY is an HTTP proxy that asks the application itself for the addresses
// below URL. Prints one line for each check and ends with 1 when one fails.
import { applications } from './applications.mjs';
import * as chromium from './chromium.mjs';

const [name, url, proxy, phonesAddress, folder] = process.argv.slice(2);
const app = applications[name];
const phones = chromium.phones(phonesAddress);
const picture = chromium.pictures(folder);
const password = { alice: 'Alice-pw-1', bob: 'Bob-pw-2' };
const browser = await chromium.launch();

const codeField = '[name=otp]';
const handle = /^(__Host-)?mfa/;

// visit is one person's browser. problems collects what its console, scripts
// and requests complain about, in words that are the same at every run.
async function visit(gated, problems, cookies = []) {
  const context = await browser.newContext({
    baseURL: url, viewport: { width: 1000, height: 800 }, locale: 'en-GB', colorScheme: 'light',
    ...(gated ? {} : { proxy: { server: proxy } }),
  });
  context.setDefaultTimeout(15000);
  await context.addCookies(cookies);
  const plain = (text) => text.replaceAll(url, '').replace(/\?.*/, '');
  context.on('console', (m) => m.type() === 'error' && problems.add(`console: ${plain(m.text())} ${plain(m.location().url)}`));
  context.on('weberror', (e) => problems.add(`script: ${plain(e.error().message)}`));
  context.on('response', (r) => r.status() >= 400 && problems.add(`${r.status()} ${r.request().method()} ${plain(r.url())}`));
  context.on('requestfailed', (r) => r.failure().errorText !== 'net::ERR_ABORTED' && problems.add(`${r.failure().errorText} ${plain(r.url())}`));
  return context;
}

// does waits for the page that an action leads to.
const does = (page, action) => Promise.all([app.stays || page.waitForNavigation(), action(page)]);

// outside: the page asks for the password, or the code, and shows no marker.
async function outside(page, asks) {
  await page.locator(asks).first().waitFor();
  return await page.locator(app.marker).count() === 0 && !(await app.inside?.(page));
}

// inside: the page shows the marker and, where it can, the user.
async function inside(page, user) {
  await page.locator(app.marker).first().waitFor({ state: 'attached' });
  if (app.inside && !(await app.inside(page))) return false;
  return !app.name || (await page.locator(app.name).allInnerTexts()).join() === app.shown(user);
}

async function walk(gated, without) {
  const check = (what, ok, more) => chromium.check(`${gated ? 'through the gate' : 'without the gate'}: ${what}`, ok, more);
  const seen = { problems: new Set(), names: new Set() };
  const context = await visit(gated, seen.problems);
  const page = await context.newPage();

  const cookies = async (when) => {
    const all = await context.cookies();
    for (const c of all) seen.names.add(c.name);
    if (!gated) return;
    const handles = all.filter((c) => handle.test(c.name));
    const others = all.filter((c) => !handle.test(c.name));
    check(`cookies ${when}`, handles.length < 2 && handles.every((c) => c.httpOnly && c.sameSite === 'Lax')
      && others.every((c) => app.cookies.test(c.name) && !app.sessions.test(c.name)), JSON.stringify(all));
  };
  const signIn = (where, user) => does(where, () => app.login(where, user, password[user]));
  const typeCode = async (where, user) => {
    await where.fill(codeField, (await phones()).codes[user]);
    await Promise.all([where.waitForNavigation(), where.press(codeField, 'Enter')]);
  };

  // A deep link leads to the application's own login page, as it always looked.
  await page.goto(app.deep);
  check('a deep link asks for the password', await outside(page, app.form));
  await page.waitForLoadState('networkidle');
  for (let i = 0; i < 20; i++) {
    seen.login = await page.screenshot({ path: picture(`login-${gated ? 'gate' : 'plain'}`) });
    if (!gated || seen.login.equals(without.login)) break;
    await page.waitForTimeout(250);
  }
  if (gated) check('the login page looks as it does without the gate', seen.login.equals(without.login), folder);

  const { sent } = await phones();
  await does(page, () => app.login(page, 'alice', 'wrong'));
  if (app.refused) await page.locator(app.refused).first().waitFor();
  check('a wrong password is refused, and sends no text', await outside(page, app.form) && (await phones()).sent === sent);
  await page.goto(app.page);
  check('and gets nowhere', await outside(page, app.form));
  await cookies('after a wrong password');

  // The right password.
  const second = app.before ? await context.newPage() : page;
  if (app.before) await second.goto(app.before);
  await page.goto(app.deep);
  await signIn(page, 'alice');
  let pending;
  if (gated) {
    await app.owed?.(page);
    check('the right password asks for the code', await outside(page, codeField) && (await phones()).sent === sent + 1);
    await page.screenshot({ path: picture('code') });
    await cookies('before the code');
    pending = await context.cookies();
    await page.goBack();
    check('no marker after Back', await outside(page, `${app.form}, ${codeField}`));
    for (const address of [app.deep, app.page]) {
      await page.goto(address);
      check(`no marker at ${address}`, await outside(page, codeField));
    }
    check('and no further text', (await phones()).sent === sent + 1);
    await typeCode(page, 'alice');
  }
  check('alice is in', await inside(page, 'alice'), page.url());
  seen.landed = page.url();
  await page.screenshot({ path: picture(`landed-${gated ? 'gate' : 'plain'}`) });
  for (const address of [app.deep, app.page]) {
    await page.goto(address);
    check(`the marker is at ${address}`, await inside(page, 'alice'));
  }
  await cookies('when signed in');
  if (pending) await replay('the handle from before the code', pending);

  // The other user, in the same browser.
  let user = 'alice';
  if (app.before || app.after) {
    user = 'bob';
    if (app.after) await second.goto(app.after);
    await signIn(second, 'bob');
    if (gated) {
      check("the other user's login asks for his code", await outside(second, codeField));
      if (second !== page) {
        await page.goto(app.page);
        check("and alice's window is out", await outside(page, codeField));
      }
      await cookies("before the other user's code");
      await typeCode(second, 'bob');
      check('bob is in', await inside(second, 'bob'));
    }
    await page.goto(app.page);
    if (gated) check("and in alice's window, too", await inside(page, 'bob'));
  }

  // Out, by the application's own way.
  const signedIn = await context.cookies();
  await does(page, app.logout);
  await page.goto(app.page);
  check('the logout asks for the password again', await outside(page, app.form));
  await page.goto(app.deep);
  check('at the deep link, too', await outside(page, app.form));
  await cookies('after the logout');
  if (gated) await replay('the handle from before the logout', signedIn);

  async function replay(what, old) {
    const thief = await visit(true, new Set(), old);
    const page = await thief.newPage();
    for (const address of [app.page, app.deep]) {
      await page.goto(address);
      check(`${what} opens nothing at ${address}`, old.some((c) => handle.test(c.name)) && await outside(page, app.form));
    }
    await thief.close();
  }
  await context.close();
  return seen;
}

const without = await walk(false);
const through = await walk(true, without);
chromium.check('the application sets session cookies', [...without.names].some((n) => app.sessions.test(n)), [...without.names].join());
chromium.check('the gate leads where the application does', through.landed === without.landed, `${through.landed}, not ${without.landed}`);
const strange = [...through.problems].filter((p) => !without.problems.has(p) && !app.complaints?.test(p));
chromium.check('no complaint that is not there without the gate', strange.length === 0, strange.join('\n     '));
await browser.close();
chromium.end();
