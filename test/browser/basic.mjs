// Signs in where HTTP Basic is the first factor: the application's own, or
// Caddy's. The browser asks for the password, the gate offers the code.
//
//   node basic.mjs URL PHONES PICTURES
import { check, end, launch, leads, phones, pictures } from './chromium.mjs';
import { looker } from './look.mjs';

const [url, phonesAddress, folder] = process.argv.slice(2);
const look = looker(pictures(folder));
const browser = await launch();
const texts = phones(phonesAddress);
const password = { alice: 'Alice-pw-1', bob: 'Bob-pw-2' };
const as = (user, secret = password[user]) => browser.newContext({
  viewport: { width: 320, height: 640 }, locale: 'fr-FR', httpCredentials: { username: user, password: secret },
});

{
  const context = await as('alice', 'wrong');
  const page = await context.newPage();
  let status = 0; // Caddy's own refusal has no page, which Chromium calls a failure
  page.on('response', (res) => { if (res.request().isNavigationRequest()) status = res.status(); });
  await page.goto(url + '/report').catch(() => {});
  check('a wrong password is refused', status === 401, String(status));
  check('and sends nothing', (await texts()).sent === 0);
  await context.close();
}
{
  const context = await as('alice');
  const page = await context.newPage();
  await page.goto(url + '/report?x=1');
  check('the page offers the code', (await page.locator('h1').innerText()) === 'Encore une étape', await page.locator('h1').innerText());
  check('no text before the button', (await texts()).sent === 0);
  check('nothing of the application yet', !(await page.content()).includes('SECRET-PAYROLL'));
  await look(page, 'ask');
  await leads(page, () => page.click('button >> nth=0'));
  check('one text', (await texts()).sent === 1);
  await page.fill('[name=otp]', (await texts()).codes.alice);
  await leads(page, () => page.press('[name=otp]', 'Enter'));
  check('in, where one wanted to go', (await page.content()).includes('SECRET-PAYROLL of alice'), await page.content());
  await page.goto(url + '/other');
  check('and further', (await page.content()).includes('SECRET-PAYROLL of alice'));
  await page.goto(url + '/mfa');
  await leads(page, () => page.click('button'));
  await page.goto(url + '/other');
  check('signed out: the code again, though the browser still knows the password', !(await page.content()).includes('SECRET-PAYROLL'));
  await context.close();
}
await browser.close();
end();
