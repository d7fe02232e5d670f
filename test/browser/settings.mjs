// Walks the pages by which a person manages the second factor, in a real browser:
// turn codes on, recovery codes, a trusted browser, another number, a sign-in
// without the phone, other sessions, turn codes off. Once with scripts, in German,
// where every page is held against axe-core, light and dark, 320 and 1280 px wide;
// once without scripts, in English.
//
//   node settings.mjs URL PHONES PICTURES
//
// Prints one line for each check and ends with 1 when one fails.
import { check, end, launch, leads, phones, pictures } from './chromium.mjs';
import { looker } from './look.mjs';

const [url, phonesAddress, folder] = process.argv.slice(2);
const texts = phones(phonesAddress);
const picture = pictures(folder);
const browser = await launch();
const other = (c) => (c === '000000' ? '000001' : '000000');
const carol = '+44 7400 111222';

async function walk(name, user, password, number, ending, options) {
  const say = (what, ok, more) => check(`${name}: ${what}`, ok, more);
  const lookAt = looker(picture);
  // axe-core is a script; without scripts there is only the picture.
  const look = async (page, what) => {
    if (options.javaScriptEnabled === false) {
      await page.screenshot({ path: picture(`${name}-${what}`), fullPage: true });
      return;
    }
    await lookAt(page, `${name}-${what}`);
    await page.setViewportSize({ width: 1280, height: 800 });
    await lookAt(page, `${name}-${what}-wide`);
    await page.setViewportSize(options.viewport);
  };
  const problems = [];
  const visit = async () => {
    const context = await browser.newContext(options);
    const page = await context.newPage();
    page.on('console', (m) => m.type() === 'error' && !/40[013]|favicon/.test(m.text()) && problems.push(m.text()));
    return page;
  };
  const code = async (whose) => (await texts()).codes[whose];
  const go = (page, path) => page.goto(url + path);
  const enter = async (page, field, value) => {
    await page.fill(`[name=${field}]`, value);
    await leads(page, () => page.press(`[name=${field}]`, 'Enter'));
  };
  const signIn = async (page) => {
    await go(page, '/login');
    await page.fill('[name=user]', user);
    await enter(page, 'password', password);
  };
  const signOut = async (page) => {
    await go(page, '/mfa');
    await leads(page, () => page.click('form[action$="/logout"] button'));
  };
  const inside = async (page) => (await page.content()).includes(`SECRET-PAYROLL of ${user}`);
  const heading = (page) => page.locator('h1').innerText();
  const click = (page, what) => leads(page, () => page.click(what));
  const link = (page, to) => click(page, `a[href*="${to}"]`);
  const press = (page, to) => click(page, `form[action$="${to}"] button[type=submit]`);

  // A number, for the first time.
  const page = await visit();
  await signIn(page);
  say('in by the password alone', await inside(page));
  await go(page, '/mfa');
  await link(page, '/mfa/settings');
  await look(page, 'off');
  await link(page, '/settings/number');
  await look(page, 'number');
  await enter(page, 'phoneno2fa', '12');
  say('a wrong number is said', await page.locator('[role=alert]').count() === 1);
  await look(page, 'number-error');
  await enter(page, 'phoneno2fa', number);
  await look(page, 'number-code');
  await link(page, 'number=1');
  say('another number can be named', await page.locator('[name=phoneno2fa]').count() === 1);
  await page.goBack();
  await enter(page, 'otp', other(await code(user)));
  say('a wrong code is said', await page.locator('[role=alert]').count() === 1);
  await enter(page, 'otp', await code(user));
  await look(page, 'added');
  await link(page, '/mfa/settings');
  say('codes go to the number', (await page.locator('main').innerText()).includes(ending));

  // Recovery codes: the code that has just come was for the number.
  await link(page, '/settings/codes');
  say('recovery codes need a proof of their own', page.url().endsWith('/settings/confirm?for=codes'), page.url());
  await look(page, 'confirm-codes');
  await press(page, '/settings/confirm');
  await enter(page, 'otp', await code(user));
  await look(page, 'make-codes');
  await press(page, '/settings/codes');
  const codes = await page.locator('.codes code').allInnerTexts();
  say('ten recovery codes', codes.length === 10 && codes.every((c) => /^[a-z2-9]{5}(-[a-z2-9]{5}){2}$/.test(c)), codes.join());
  await look(page, 'codes');
  await page.emulateMedia({ media: 'print', colorScheme: 'light' });
  await page.screenshot({ path: picture(`${name}-codes-print`), fullPage: true });
  await page.emulateMedia({ media: 'screen' });
  await link(page, '/mfa/settings');

  // A trusted browser.
  await signOut(page);
  await signIn(page);
  await look(page, 'code');
  await page.check('[name=trust]');
  await enter(page, 'otp', other(await code(user)));
  say('the box stays ticked after a wrong code', await page.isChecked('[name=trust]'));
  await enter(page, 'otp', await code(user));
  say('in with the code', await inside(page));
  await signOut(page);
  await signIn(page);
  say('no code is asked for in a trusted browser', await inside(page));
  await go(page, '/mfa');
  await look(page, 'signed-in');
  await link(page, '/mfa/settings');
  say('it is in the list', await page.locator('[name=id]').count() === 1);
  await look(page, 'overview');

  // Another number: first the proof.
  const before = (await texts()).sent;
  await link(page, '/settings/number');
  await look(page, 'confirm');
  say('nothing was sent by a link', (await texts()).sent === before);
  await press(page, '/settings/confirm');
  await look(page, 'confirm-code');
  await enter(page, 'otp', other(await code(user)));
  await look(page, 'confirm-code-error');
  await link(page, 'code=recovery');
  await enter(page, 'backupcode', 'abc');
  await look(page, 'confirm-recovery-error');
  await enter(page, 'backupcode', codes[0].toUpperCase().replaceAll('-', ' '));
  say('a recovery code is a proof', page.url().endsWith('/mfa/settings/number'), page.url());
  await enter(page, 'phoneno2fa', number);
  await look(page, 'number-known');
  await enter(page, 'phoneno2fa', carol);
  await enter(page, 'otp', await code('carol'));
  await look(page, 'changed');
  await link(page, '/mfa/settings');
  say('the number is the new one', (await page.locator('main').innerText()).includes('22'));
  say('the trust is over', await page.locator('[name=id]').count() === 0);

  // Elsewhere, without the phone.
  const second = await visit();
  await signIn(second);
  await link(second, '/mfa/recover');
  await look(second, 'recovery');
  await enter(second, 'backupcode', codes[0]);
  say('a used code is refused, and says what is left', /\d/.test(await second.locator('[role=alert] p').innerText()));
  await look(second, 'recovery-error');
  await enter(second, 'backupcode', codes[1]);
  await look(second, 'recovered');
  await click(second, 'main a.button');
  say('in without the phone', await inside(second));
  const third = await visit();
  await signIn(third);
  await enter(third, 'otp', await code('carol'));
  say('in with a code to the new number', await inside(third));

  // Sessions.
  await page.reload();
  await look(page, 'sessions');
  say('three sessions', await page.locator('#sessions + ul > li').count() === 3);
  await click(page, '[name=ref] >> nth=0');
  await go(third, '/');
  say('the newest other session has ended', !await inside(third));
  await go(second, '/');
  say('the other one goes on', await inside(second));
  await click(page, '[name=ref]');
  await go(second, '/');
  say('and has ended now', !await inside(second));

  // Off again.
  await go(page, '/mfa/settings/remove');
  say('the proof for the number is none for this', page.url().endsWith('/settings/confirm?for=remove'), page.url());
  await press(page, '/settings/confirm');
  await enter(page, 'otp', await code('carol'));
  await look(page, 'remove');
  await press(page, '/settings/remove');
  say('codes are off', await page.locator('[name=otp]').count() === 0 && await page.locator('main a.button').count() === 1, await heading(page));
  await look(page, 'removed');
  await go(page, '/');
  say('still in', await inside(page));
  say('no error on the console', problems.length === 0, problems.join('; '));
  for (const p of [page, second, third]) await p.context().close();
}

await walk('de', 'alice', 'Alice-pw-1', '+44 7400 123456', '56', { viewport: { width: 320, height: 640 }, locale: 'de-DE' });
await walk('en', 'bob', 'Bob-pw-2', '+44 7400 654321', '21', { viewport: { width: 1280, height: 800 }, locale: 'en-GB', javaScriptEnabled: false });
await browser.close();
end();
