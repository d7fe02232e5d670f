// Walks a person's way through the gate in a real browser: deep link, password,
// number, wrong code, right code, sign out; with scripts and without; and holds
// every page of the gate against axe-core, light and dark, 320 px wide.
//
//   node walk.mjs URL PHONES PICTURES
//
// Prints one line for each check and ends with 1 when one fails.
import { check, end, launch, leads, phones, pictures } from './chromium.mjs';
import { looker } from './look.mjs';

const [url, phonesAddress, folder] = process.argv.slice(2);
const picture = pictures(folder);
const browser = await launch();
const texts = phones(phonesAddress);
const code = async () => (await texts()).codes.alice;
const other = (c) => (c === '000000' ? '000001' : '000000');

const look = looker(picture);
const click = (page, what) => leads(page, () => page.click(what));
const enter = async (page, code) => {
  await page.fill('[name=otp]', code);
  await leads(page, () => page.press('[name=otp]', 'Enter'));
};

async function signIn(page, user, password, path) {
  await page.goto(url + path);
  await page.fill('[name=user]', user);
  await page.fill('[name=password]', password);
  await click(page, 'button');
}

// With scripts, a phone's width, German: the first login of a user.
{
  const context = await browser.newContext({ viewport: { width: 320, height: 640 }, locale: 'de-DE' });
  const page = await context.newPage();
  const problems = [];
  page.on('console', (m) => m.type() === 'error' && problems.push(m.text()));
  await signIn(page, 'alice', 'Alice-pw-1', '/report/5');
  check('the number page is in German', await page.locator('html[lang=de] h1').innerText() === 'Ihre Mobilnummer');
  await look(page, 'number');
  await page.fill('[name=phoneno2fa]', '+33 6 12 34 56 78');
  await click(page, 'button >> nth=0');
  check('a foreign number is refused', await page.locator('[role=alert]').count() === 1);
  await look(page, 'number-error');
  await page.fill('[name=phoneno2fa]', '+44 7400 123456');
  await click(page, 'button >> nth=0');
  await look(page, 'code');
  await enter(page, other(await code()));
  check('a wrong code is said', (await page.locator('[role=alert]').innerText()).includes('stimmt nicht'));
  check('the title says so', (await page.title()).startsWith('Fehler:'));
  await look(page, 'code-error');
  const right = await code();
  await enter(page, `${right.slice(0, 3)} ${right.slice(3)}`);
  check('the deep link is reached', (await page.content()).includes('SECRET-PAYROLL of alice'));
  const cookies = await context.cookies();
  check('the browser holds one cookie, out of scripts\' reach', cookies.length === 1 && cookies[0].httpOnly && cookies[0].sameSite === 'Lax', JSON.stringify(cookies));
  await page.goto(url + '/mfa');
  await look(page, 'signed-in');
  await click(page, 'button');
  await page.goBack();
  await page.goto(url + '/report/5');
  check('signed out', !(await page.content()).includes('SECRET-PAYROLL'));
  check('no error on the console', problems.filter((p) => !/40[013]|favicon/.test(p)).length === 0, problems.join('; '));
  await context.close();
}

// Without scripts, English, a desktop.
{
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, locale: 'en-GB', javaScriptEnabled: false });
  const page = await context.newPage();
  await signIn(page, 'alice', 'Alice-pw-1', '/');
  check('the code page without scripts', (await page.locator('h1').innerText()) === 'Check your phone');
  await page.screenshot({ path: picture('code-desktop') });
  await page.fill('[name=otp]', await code());
  await click(page, 'button >> nth=0');
  check('in without scripts', (await page.content()).includes('SECRET-PAYROLL of alice'));
  await context.close();
}

// From right to left.
{
  const context = await browser.newContext({ viewport: { width: 320, height: 640 }, locale: 'ar-EG' });
  const page = await context.newPage();
  await signIn(page, 'alice', 'Alice-pw-1', '/');
  const box = async (what) => page.locator(what).boundingBox();
  check('the page is read from right to left', await page.locator('html[lang=ar][dir=rtl]').count() === 1);
  const [h1, field] = [await box('h1'), await box('[name=otp]')];
  check('and begins there', h1.x + h1.width === field.x + field.width && h1.x < field.x, JSON.stringify([h1, field]));
  check('but not the code', await page.locator('[name=otp]').evaluate((e) => getComputedStyle(e).direction) === 'ltr');
  await look(page, 'code-ar');
  await enter(page, other(await code()));
  await look(page, 'code-error-ar');
  await enter(page, [...await code()].map((c) => String.fromCodePoint(0x660 + Number(c))).join('')); // as an Arabic keyboard types it
  check('in with Arabic digits', (await page.content()).includes('SECRET-PAYROLL of alice'));
  await page.goto(url + '/mfa/settings');
  await look(page, 'settings-ar');
  await context.close();
}

// Five wrong codes end the sign-in.
{
  const context = await browser.newContext({ viewport: { width: 360, height: 640 }, locale: 'fr-FR' });
  const page = await context.newPage();
  await signIn(page, 'alice', 'Alice-pw-1', '/');
  const right = await code();
  for (let i = 0; i < 5; i++) {
    await enter(page, other(right));
    if (i === 3) check('the last try is announced', (await page.locator('[role=alert]').innerText()).includes('un essai'));
  }
  check('the sign-in has ended', (await page.locator('h1').innerText()) === 'Trop de codes faux');
  await look(page, 'ended');
  await context.close();
}
await browser.close();
end();
