// Walks a person's way into an application and out of it, in a real browser:
// through the gate and beside it, which tells how the application looks, where
// it leads and what it complains about by itself.
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
const password = { alice: app.secret ?? 'Alice-pw-1', bob: 'Bob-pw-2' };
const browser = await chromium.launch();

const size = { width: 1000, height: 800 };
const ready = { waitUntil: 'domcontentloaded' };
const codeField = '[name=otp]';
const handle = /^(__Host-)?mfa/;

// visit is one person's browser. problems collects what its console, scripts
// and requests complain about, in words that are the same at every run. Not
// counted: what other hosts are asked for, which the gate has no part in, and
// the icon, which Chromium asks for when it likes.
async function visit(gated, problems, cookies = []) {
  const context = await browser.newContext({
    baseURL: url, viewport: size, locale: 'en-GB', colorScheme: 'light',
    ...(gated ? {} : { proxy: { server: proxy } }),
  });
  context.setDefaultTimeout(30000);
  await context.addCookies(cookies);
  const bare = (text) => text.replaceAll(url, '').replace(/\?.*/, '');
  const counts = (address) => (address === '' || address.startsWith(url)) && !address.endsWith('/favicon.ico');
  const add = (what, address) => counts(address) && problems.add(`${what} ${bare(address)}`);
  context.on('console', (m) => m.type() === 'error' && add(`console: ${bare(m.text())}`, m.location().url));
  context.on('weberror', (e) => add(`script: ${bare(e.error().message)}`, ''));
  context.on('response', (r) => r.status() >= 400 && add(`${r.status()} ${r.request().method()}`, r.url()));
  context.on('requestfailed', (r) => r.failure().errorText !== 'net::ERR_ABORTED' && add(r.failure().errorText, r.url()));
  return context;
}

// does waits for the page that an action leads to.
const does = (page, action) => (app.stays ? action(page) : chromium.leads(page, () => action(page)));

// there waits for an element; a page that never has it fails the check.
const there = (page, what, state) => page.locator(what).first().waitFor({ state }).then(() => true, () => false);

// outside: the page asks for the password, or the code, and shows no marker.
const outside = async (page, asks) => await there(page, asks, 'visible')
  && await page.locator(app.marker).count() === 0 && !(await app.inside?.(page));

// inside: the page shows the marker and, where it can, the user.
const inside = async (page, user) => await there(page, app.marker, 'attached')
  && (!app.inside || await app.inside(page))
  && (!app.name || (await page.locator(app.name).allTextContents()).join() === app.shown(user));

// usualLogin is the picture of the login page without the gate.
let settle;
const usualLogin = new Promise((resolve) => { settle = resolve; });

async function walk(gated) {
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
    const wanted = handles.filter((c) => c.name.endsWith('-to')); // the page that was refused
    check(`cookies ${when}`, handles.length - wanted.length < 2 && wanted.length < 2 && handles.every((c) => c.httpOnly && c.sameSite === 'Lax')
      && others.every((c) => app.cookies.test(c.name) && !app.sessions.test(c.name)), JSON.stringify(all));
  };
  const sent = async () => (await phones()).sent;
  const level = async (person) => (await (await person.request.get('/mfa/status')).json()).level;
  const go = (where, address) => where.goto(address, ready);
  const signIn = (where, user) => does(where, () => app.login(where, user, password[user]));
  const typeCode = async (where, user) => {
    await where.fill(codeField, (await phones()).codes[user]);
    await chromium.leads(where, () => where.press(codeField, 'Enter'));
  };

  // The code is asked for over the application's own page, which then goes on as
  // if it had had its answer at once. Who gives up is where he was before.
  const inDialog = async () => {
    check('the right password asks for the code', await outside(page, `dialog ${codeField}`));
    await page.keyboard.press('Escape');
    check('Escape is a failed login', await outside(page, app.form) && (!app.cancelled || await there(page, app.cancelled, 'visible')));
    check('and the dialog is gone', await there(page, 'dialog', 'detached'));
    await go(page, app.page);
    await signIn(page, 'alice');
    check('the next login asks for the code', await outside(page, `dialog ${codeField}`));
    await page.screenshot({ path: picture('code') });
    await page.setViewportSize({ width: 320, height: 640 });
    await page.screenshot({ path: picture('code-narrow') });
    await page.setViewportSize(size);
    await cookies('before the code');
    const other = await context.newPage();
    await go(other, app.page);
    check('no marker in another window', await outside(other, codeField));
    await other.close();
    check('there were two texts', await sent() === before + 2);
    const document = await page.evaluate(() => performance.timeOrigin);
    await page.keyboard.type((await phones()).codes.alice); // the field has the focus
    await page.keyboard.press('Enter');
    check('the page goes on by itself', await inside(page, 'alice'));
    check('it is the same page', await page.evaluate(() => performance.timeOrigin) === document);
  };

  // A deep link leads to the application's own login page, as it always looked.
  await page.goto(app.deep, { waitUntil: 'networkidle' });
  check('a deep link asks for the password', await outside(page, app.form));
  const look = async () => {
    if (app.blur) await page.evaluate(() => document.activeElement?.blur());
    return page.screenshot({ animations: 'disabled', path: picture(`login-${gated ? 'gate' : 'plain'}`) });
  };
  if (gated) {
    const usual = await usualLogin;
    let same = false;
    for (let i = 0; i < 40 && !(same = usual.equals(await look())); i++) await page.waitForTimeout(250);
    check('the login page looks as it always did', same, folder);
  } else {
    // Pages move the focus, and show dialogs, after they have loaded: the usual
    // look is the one that lasts.
    let usual, before;
    for (let i = 0; i < 10 && !(before && usual.equals(before)); i++) {
      before = usual;
      await page.waitForTimeout(1000);
      usual = await look();
    }
    settle(usual);
  }

  // The wrong password.
  const before = await sent();
  await does(page, () => app.login(page, 'alice', 'wrong'));
  check('a wrong password is refused', await outside(page, app.form) && (!app.refused || await there(page, app.refused, 'visible')));
  await go(page, app.page);
  check('and gets nowhere', await outside(page, app.form));
  check('and sends no text', await sent() === before);
  await cookies('after a wrong password');

  // The right password, and the code.
  const second = gated && app.before ? await context.newPage() : page;
  if (second !== page) await go(second, app.before);
  await go(page, app.deep);
  await signIn(page, 'alice');
  if (gated && app.dialog) await inDialog();
  else if (gated) {
    check('the right password asks for the code', await outside(page, codeField));
    await page.screenshot({ path: picture('code') });
    await cookies('before the code');
    await page.goBack(ready);
    check('no marker after Back', await outside(page, `${app.form}, ${codeField}`));
    for (const address of [app.deep, app.page]) {
      await go(page, address);
      check(`no marker at ${address}`, await outside(page, codeField));
    }
    check('there was one text', await sent() === before + 1);
    await typeCode(page, 'alice');
  }
  check('alice is in', await inside(page, 'alice'), page.url());
  seen.landed = app.stays ? page.url().replace(/#.*/, '') : page.url().replace(app.random ?? '', ''); // what is behind the # goes on changing
  await page.waitForLoadState();
  await page.screenshot({ path: picture(`landed-${gated ? 'gate' : 'plain'}`) });
  for (const address of [app.deep, app.page].filter((address) => url + address !== seen.landed)) {
    await go(page, address);
    check(`the marker is at ${address}`, await inside(page, 'alice'));
  }
  await cookies('when signed in');

  // The other user, in the same browser.
  if (gated && (app.before || app.after)) {
    if (app.after) await go(second, app.after);
    await signIn(second, 'bob');
    check("the other user's login asks for his code", await outside(second, codeField));
    await cookies("before the other user's code");
    await go(page, app.page);
    check('and nothing of alice is left', await outside(page, codeField));
    await typeCode(second, 'bob');
    check('bob is in', await inside(second, 'bob'));
    await go(page, app.page);
    check("in alice's window, too", await inside(page, 'bob'));
  }

  // Out, by the application's own way.
  const old = await context.cookies();
  if (gated) check('the session is verified', await level(context) === 'verified');
  await does(page, app.logout);
  await go(page, app.page);
  check('the logout asks for the password again', await outside(page, app.form));
  await cookies('after the logout');
  if (gated) {
    const thief = await visit(true, new Set(), old);
    check('the old handle is of no session', await level(thief) === '');
    const stolen = await thief.newPage();
    await go(stolen, app.page);
    check('the old cookies open nothing', await outside(stolen, app.form));
    await thief.close();
  }
  await context.close();
  return seen;
}

const [plain, through] = await Promise.all([walk(false), walk(true)]);
chromium.check('the gate leads where the application does', through.landed === plain.landed, `${through.landed}, not ${plain.landed}`);
chromium.check('the application sets session cookies, or bearer tokens', [...plain.names].some((n) => app.sessions.test(n)) !== Boolean(app.bearer), [...plain.names].join());
const strange = [...through.problems].filter((p) => !plain.problems.has(p) && !app.complaints?.test(p));
chromium.check('no complaint that is not there without the gate', strange.length === 0, strange.join('\n     '));
await browser.close();
chromium.end();
