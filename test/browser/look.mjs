// Looks at one of the gate's pages, light and dark: a picture, its width, and what
// axe-core says.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { check } from './chromium.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export const looker = (picture) => async (page, name) => {
  for (const scheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme: scheme });
    await page.screenshot({ path: picture(`${name}-${scheme}`), fullPage: true });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
    check(`${name} ${scheme}: nothing is wider than the window`, !wide);
    const client = await page.context().newCDPSession(page);
    await client.send('Page.setBypassCSP', { enabled: true });
    const result = await page.evaluate(`${axe}; axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] })`);
    check(`${name} ${scheme}: axe-core`, result.violations.length === 0, JSON.stringify(result.violations.map((v) => [v.id, v.nodes.map((n) => n.html)])));
  }
};
