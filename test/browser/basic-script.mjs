// Signs in to a page that asks for a password itself and sends it as HTTP Basic, by
// each way that scripts have, also the one that everything waits for (people P23).
//
//   node basic-script.mjs GATE PHONES PICTURES
import { check, end, launch, phones, pictures } from './chromium.mjs';
import { looker } from './look.mjs';

const [gate, phonesAddress, folder] = process.argv.slice(2);
const look = looker(pictures(folder));
const browser = await launch();
const texts = phones(phonesAddress);
const code = async () => (await texts()).codes.alice;
const other = (c) => (c === '000000' ? '000001' : '000000');

for (const by of ['fetch', 'request', 'xhr', 'arguments', 'sync', 'sync-arguments']) {
  const context = await browser.newContext({ viewport: { width: 320, height: 640 }, locale: 'en-GB' });
  const page = await context.newPage();
  const asked = [];
  const problems = [];
  page.on('pageerror', (e) => problems.push(e.message));
  page.on('response', (res) => { if (/^basic/i.test(res.headers()['www-authenticate'] ?? '')) asked.push(res.url()); });
  const windows = [];
  let answers = [];
  page.on('dialog', async (d) => {
    windows.push(`${d.type()}: ${d.message()}`);
    const answer = answers.shift();
    if (answer === undefined) await d.dismiss(); else await d.accept(await answer());
  });
  const says = async () => {
    await page.waitForFunction(() => document.getElementById('says').textContent !== '', null, { timeout: 15000 }).catch(() => {});
    return page.innerText('#says');
  };
  const send = async (password) => {
    await page.evaluate(() => { document.getElementById('says').textContent = ''; });
    await page.fill('[name=user]', 'alice');
    await page.fill('[name=password]', password);
    await page.click(`button[value=${by}]`);
  };
  await page.goto(gate + '/');
  await send('wrong');
  check(`P23 ${by}: the page is told of a wrong password`, (await says()) === 'failed 401', await says());
  const before = (await texts()).sent;
  if (by.startsWith('sync')) {
    await send('Alice-pw-1');
    check(`P23 ${by}: who gives up is told by the page`, (await says()) === 'failed 403', await says());
    check(`P23 ${by}: nothing was sent without being asked for`, (await texts()).sent === before && windows.length === 1 && windows[0].startsWith('confirm: Signing in here needs a code.'), windows.join('|'));
    windows.length = 0;
    answers = [async () => '', async () => other(await code()), code];
    await send('Alice-pw-1');
    check(`P23 ${by}: the page goes on`, (await says()) === 'SECRET-PAYROLL of alice, posted', await says());
    check(`P23 ${by}: a wrong code is said`, windows.length === 3 && windows[1].includes('ending in 56') && windows[2].includes('That code is not correct'), windows.join('|'));
  } else {
    await send('Alice-pw-1');
    const dialog = page.locator('dialog');
    await dialog.locator('h1').waitFor();
    check(`P23 ${by}: what really happened`, (await dialog.locator('h1').innerText()) === 'One more step' && (await dialog.innerText()).includes('We can text it to your phone ending in 56') && !(await dialog.innerText()).includes('could not'), await dialog.innerText());
    check(`P23 ${by}: nothing was sent without being asked for`, (await texts()).sent === before);
    if (by === 'fetch') await look(page, 'bridge-offer');
    await dialog.locator('button >> nth=0').click();
    await dialog.locator('#otp').fill(other(await (async () => { await dialog.locator('#otp').waitFor(); return code(); })()));
    await dialog.locator('#otp').press('Enter');
    await dialog.locator('.error:not(:empty)').waitFor();
    await dialog.locator('#otp').fill(await code());
    await dialog.locator('#otp').press('Enter');
    check(`P23 ${by}: the page goes on`, (await says()) === 'SECRET-PAYROLL of alice, posted', await says());
    check(`P23 ${by}: the dialog is gone`, await dialog.count() === 0);
    check(`P23 ${by}: no window of the browser's`, windows.length === 0, windows.join('|'));
  }
  check(`P23 ${by}: one text`, (await texts()).sent === before + 1);
  await send('Alice-pw-1');
  check(`P23 ${by}: again, without a code`, (await says()) === 'SECRET-PAYROLL of alice, posted', await says());
  check(`P23 ${by}: the browser was not asked for a password`, asked.length === 0, asked.join(' '));
  check(`P23 ${by}: no error of a script`, problems.length === 0, problems.join('; '));
  await context.close();
}
await browser.close();
end();
