// What the code page says while a person waits: that the text is on the phone,
// or why not; once, by a line that screen readers are told of.
//
//   node receipts.mjs URL REPORT PICTURES
//
// GET REPORT?status=S has the provider report the newest text.
// Prints one line for each check and ends with 1 when one fails.
import { check, end, launch, pictures } from './chromium.mjs';
import { looker } from './look.mjs';

const [url, report, folder] = process.argv.slice(2);
const browser = await launch();
const look = looker(pictures(folder));

for (const [status, scripts, said] of [
  ['delivered', true, 'Die SMS ist auf Ihrem Telefon.'],
  ['undelivered', true, 'Die SMS ist nicht angekommen.'],
  ['delivered', false, 'Die SMS ist auf Ihrem Telefon.'],
]) {
  const context = await browser.newContext({ viewport: { width: 320, height: 640 }, locale: 'de-DE', javaScriptEnabled: scripts });
  const page = await context.newPage();
  const problems = [];
  let asked = 0;
  page.on('console', (m) => m.type() === 'error' && !/40[13]|favicon/.test(m.text()) && problems.push(m.text()));
  page.on('pageerror', (e) => problems.push(e.message));
  page.on('request', (r) => { if (r.url().endsWith('/mfa/status')) asked += 1; });
  await page.goto(url + '/login');
  await page.fill('[name=user]', 'alice');
  await page.fill('[name=password]', 'Alice-pw-1');
  await page.click('button');
  const line = page.locator('#delivery[role=status]');
  const name = `${status}, scripts ${scripts ? 'on' : 'off'}`;
  check(`${name}: nothing is said before a report`, await line.textContent() === '');
  if (scripts) await page.evaluate(() => {
    window.changes = 0;
    new MutationObserver(() => { window.changes += 1; }).observe(document.getElementById('delivery'), { childList: true, characterData: true, subtree: true });
  });
  await fetch(`${report}?status=${status}`);
  if (scripts) {
    await page.waitForFunction(() => document.getElementById('delivery').textContent !== '', null, { timeout: 15000 });
  } else {
    await page.goto(url + '/mfa');
  }
  check(`${name}: the page says it`, (await line.textContent()).startsWith(said), await line.textContent());
  if (scripts) {
    await look(page, status);
    const before = asked;
    await page.waitForTimeout(9000);
    check(`${name}: it is said once, and not asked for again`, asked === before && await page.evaluate(() => window.changes) === 1);
    check(`${name}: nothing is wrong in the console`, problems.length === 0, problems.join('\n'));
  } else {
    check(`${name}: nothing is asked`, asked === 0);
  }
  await context.close();
}
await browser.close();
end();
