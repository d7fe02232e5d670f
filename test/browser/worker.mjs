// A service worker that shows the page that it has kept for every address.
//
//   node worker.mjs GATE PHONES PICTURES
import { check, end, launch, leads, phones } from './chromium.mjs';

const [gate, phonesAddress] = process.argv.slice(2);
const browser = await launch();
const texts = phones(phonesAddress);
for (const script of ['/sw.js', '/strict/sw.js', '/module/sw.js']) {
  const context = await browser.newContext({ locale: 'en-GB' });
  const page = await context.newPage();
  const heading = async (path) => {
    await page.goto(gate + path);
    return `${await page.title()} | ${await page.locator('h1').first().innerText()}`;
  };
  await page.goto(gate + '/report');
  await page.fill('[name=user]', 'alice');
  await page.fill('[name=password]', 'Alice-pw-1');
  await leads(page, () => page.click('button'));
  await page.fill('[name=otp]', (await texts()).codes.alice);
  await leads(page, () => page.press('[name=otp]', 'Enter'));
  check(`P11 ${script}: in`, (await page.content()).includes('SECRET-PAYROLL'));
  const problem = await page.evaluate(async (script) => {
    try {
      await navigator.serviceWorker.register(script, { scope: '/', type: script.startsWith('/module') ? 'module' : 'classic' });
      await navigator.serviceWorker.ready;
      return '';
    } catch (e) { return String(e); }
  }, script);
  check(`P11 ${script}: the worker is there`, problem === '', problem);
  check(`P11 ${script}: it shows the page that it has kept`, (await heading('/report')) === 'Shell | Kept');
  check(`P11 ${script}: our page is reached`, (await heading('/mfa')).includes('You are signed in'), await heading('/mfa'));
  check(`P11 ${script}: and those below it`, (await heading('/mfa/settings')).includes('Security settings'));
  check(`P11 ${script}: not what only begins like it`, (await heading('/mfax')) === 'Shell | Kept');
  await page.goto(gate + '/mfa');
  await leads(page, () => page.click('form button'));
  check(`P11 ${script}: signed out`, (await page.locator('[name=password]').count()) === 1, page.url());
  check(`P11 ${script}: the worker is there as before`, (await heading('/report')) === 'Shell | Kept');
  await page.goto(gate + '/login?back=%2Freport');
  check(`P11 ${script}: the login page is reached`, (await page.locator('[name=password]').count()) === 1);
  check(`P11 ${script}: strict as it was`, (await page.evaluate(() => new Promise((resolve) => {
    navigator.serviceWorker.addEventListener('message', (e) => resolve(e.data));
    navigator.serviceWorker.startMessages();
    navigator.serviceWorker.controller ? navigator.serviceWorker.controller.postMessage('strict?')
      : navigator.serviceWorker.ready.then((r) => r.active.postMessage('strict?'));
  }))) === (script !== '/sw.js'));
  await context.close();
}
await browser.close();
end();
