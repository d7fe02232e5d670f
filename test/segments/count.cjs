// Counts the segments of texts by Twilio's calculator: a JSON list of texts comes in,
// a list of [segments, encoding] goes out.
const { SegmentedMessage } = require('sms-segments-calculator');
const texts = JSON.parse(require('fs').readFileSync(0, 'utf8'));
console.log(JSON.stringify(texts.map((text) => {
  const m = new SegmentedMessage(text, 'auto');
  return [m.segmentsCount, m.getEncodingName()];
})));
