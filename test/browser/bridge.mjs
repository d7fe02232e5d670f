// Signs in to a single-page application whose code knows nothing of a second
// factor, by fetch and by XMLHttpRequest.
//
//   node bridge.mjs URL self|directory|INVITATION PHONES-URL PICTURES
import { readFileSync, mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const [url, enroll, phones, pictures] = process.argv.slice(2);
mkdirSync(pictures, { recursive: true });
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
let failed = 0;
const check = (what, ok, more = '') => {
  console.log(`${ok ? 'ok  ' : 'FAIL'} ${what} ${ok ? '' : more}`);
  if (!ok) failed++;
};
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const code = async () => (await (await fetch(phones)).json()).codes.alice;
let first = enroll !== 'directory';

for (const by of ['fetch', 'xhr', 'state']) {
  const context = await browser.newContext({ viewport: { width: 320, height: 640 }, locale: 'de-DE' });
  const page = await context.newPage();
  const problems = [];
  page.on('console', (m) => m.type() === 'error' && problems.push(m.text()));
  page.on('pageerror', (e) => problems.push(e.message));
  await page.goto(url + '/');
  await page.fill('[name=user]', 'alice');
  await page.fill('[name=password]', 'wrong');
  await page.click(`button[value=${by}]`);
  await page.waitForFunction(() => document.getElementById('says').textContent !== '');
  check(`${by}: a wrong password is the application's affair`, (await page.innerText('#says')) === 'failed 401', await page.innerText('#says'));

  await page.fill('[name=password]', 'Alice-pw-1');
  await page.click(`button[value=${by}]`);
  if (first) {
    if (enroll !== 'self') {
      const invite = page.locator('dialog #invite');
      for (const typed of ['abc', 'aaaaa-aaaaa-aaaaa']) {
        await invite.fill(typed);
        await invite.press('Enter');
        await page.locator('dialog .error:not(:empty)').waitFor();
        check(`invitation ${typed}: what is wrong`, /15|stimmt nicht/.test(await page.innerText('dialog .error')), await page.innerText('dialog .error'));
      }
      await page.screenshot({ path: `${pictures}/bridge-invite.png` });
      await invite.fill(enroll);
      await invite.press('Enter');
    }
    await page.locator('dialog #phone').fill('+33 6 12 34 56 78');
    await page.locator('dialog #phone').press('Enter');
    await page.locator('dialog .error:not(:empty)').waitFor();
    await page.locator('dialog #phone').fill('+44 7400 123456');
    await page.screenshot({ path: `${pictures}/bridge-phone.png` });
    await page.locator('dialog #phone').press('Enter');
    first = false;
  }
  const otp = page.locator('dialog #otp');
  await otp.waitFor();
  check(`${by}: the dialog is in German`, (await page.locator('dialog h1').innerText()) === 'Schauen Sie auf Ihr Telefon' && (await page.locator('dialog').getAttribute('lang')) === 'de');
  check(`${by}: the field has the focus`, await otp.evaluate((e) => e.getRootNode().activeElement === e));
  check(`${by}: the application has seen nothing yet`, (await page.title()) === 'out' && (await page.innerText('#says')) === 'failed 401');
  await page.screenshot({ path: `${pictures}/bridge-${by}.png` });
  const client = await context.newCDPSession(page);
  await client.send('Page.setBypassCSP', { enabled: true });
  const right = await code();
  await otp.fill(right === '000000' ? '000001' : '000000');
  await otp.press('Enter');
  await page.locator('dialog .error:not(:empty)').waitFor();
  if (!process.env.NO_AXE) {
    const violations = await page.evaluate(`(async () => { ${axe}; const r = await axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] }); return r.violations.map((v) => [v.id, v.nodes.map((n) => n.html)]); })()`)
      .catch((e) => e.message.includes('Trusted') ? [] : [[e.message]]);
    check(`${by}: axe-core`, violations.length === 0, JSON.stringify(violations));
  }
  await otp.fill(right);
  await otp.press('Enter');
  await page.waitForFunction(() => document.title === 'in', null, { timeout: 10000 }).catch(() => {});
  check(`${by}: the application goes on by itself`, (await page.innerText('#says')) === 'SECRET-PAYROLL of alice', await page.innerText('#says'));
  check(`${by}: the dialog is gone`, await page.locator('dialog').count() === 0);
  check(`${by}: no error but those of wrong passwords and codes`, problems.filter((p) => !/40[0-9]|favicon/.test(p)).length === 0, problems.join('; '));
  await context.close();
}

// Who gives up is told by the application that the sign-in failed, and stands
// where he stood. By keyboard alone.
for (const by of ['fetch', 'xhr', 'state']) {
  const context = await browser.newContext({ viewport: { width: 800, height: 600 }, locale: 'en-GB' });
  const page = await context.newPage();
  await page.goto(url + '/');
  await page.focus('[name=user]');
  await page.keyboard.type('bob');
  await page.keyboard.press('Tab');
  await page.keyboard.type('Bob-pw-2');
  await page.focus(`button[value=${by}]`);
  await page.keyboard.press('Enter');
  await page.locator('dialog input').waitFor();
  await page.screenshot({ path: `${pictures}/bridge-give-up-${by}.png` });
  await page.keyboard.press('Escape');
  await page.waitForFunction(() => document.getElementById('says').textContent !== '', null, { timeout: 10000 }).catch(() => {});
  check(`${by}: Escape is a failed sign-in`, (await page.innerText('#says')) === 'failed 403', await page.innerText('#says'));
  check(`${by}: the dialog is gone`, await page.locator('dialog').count() === 0);
  check(`${by}: the page's own Escape was not meant`, (await page.title()) === 'out');
  check(`${by}: the focus is back`, await page.evaluate(() => document.activeElement.value) === by);
  check(`${by}: the session owes nothing`, (await (await context.request.get(url + '/mfa/status')).json()).level === '');
  await context.close();
}

// A page that gives up waiting before the code has come is loaded anew.
{
  const context = await browser.newContext({ viewport: { width: 800, height: 600 }, locale: 'en-GB' });
  const page = await context.newPage();
  await page.goto(url + '/');
  await page.fill('[name=user]', 'alice');
  await page.fill('[name=password]', 'Alice-pw-1');
  await page.click('button[value=impatient]');
  const otp = page.locator('dialog #otp');
  await otp.waitFor();
  await page.waitForFunction(() => document.getElementById('says').textContent === 'no answer in time');
  await otp.fill(await code());
  const anew = page.waitForEvent('load', { timeout: 10000 }).then(() => true, () => false);
  await otp.press('Enter');
  check('a page that did not wait is loaded anew', await anew);
  check('and its session is signed in', (await (await context.request.get(url + '/mfa/status')).json()).level === 'verified');
  await context.close();
}
await browser.close();
console.log(failed ? `${failed} checks failed` : 'all checks passed');
process.exit(failed ? 1 : 0);
