"""The style of the report's page: light and dark, narrow and wide."""

STYLE = """
:root { color-scheme: light dark; --page: #f4f5f7; --card: #ffffff; --ink: #1c2530; --soft: #5b6675; --line: #e0e4ea;
  --faint: #8a8f98; --c0: #2f6fde; --c1: #d9622b; --c2: #2f9e6e; --c3: #8b5cd6; --bad: #c7362f; --warn: #b26a00; }
@media (prefers-color-scheme: dark) {
  :root { --page: #12161c; --card: #1b212a; --ink: #e6eaf0; --soft: #9aa5b4; --line: #2c3542; --faint: #75808f;
    --c0: #6ea1ff; --c1: #f08a57; --c2: #56c596; --c3: #b392f0; --bad: #ff7b72; --warn: #e3a33c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main, header, footer { max-width: 1120px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 40px; padding-bottom: 8px; }
h1 { margin: 0; font-size: 1.9rem; line-height: 1.2; letter-spacing: -0.015em; overflow-wrap: anywhere; }
header p { margin: 6px 0 0; color: var(--soft); }
h2 { margin: 0 0 4px; font-size: 1.15rem; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 20px 22px;
  margin: 18px 0; overflow-x: auto; }
section > p { margin: 0 0 12px; color: var(--soft); max-width: 72ch; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 18px 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 12px 16px; }
.card b { display: block; font-size: 1.35rem; font-weight: 650; font-variant-numeric: tabular-nums;
  overflow-wrap: anywhere; }
.card span { color: var(--soft); font-size: 0.85rem; }
.finding { border-left: 4px solid var(--warn); padding: 2px 0 2px 14px; margin: 14px 0; }
.finding.error { border-color: var(--bad); }
.finding.healthy { border-color: var(--c2); }
.finding.follows { border-color: var(--line); }
.finding h3 { margin: 0; font-size: 1rem; }
.finding p { margin: 4px 0; max-width: 85ch; }
.finding .advice { color: var(--soft); }
.tag { font-size: 0.75rem; font-weight: 600; color: var(--warn); margin-left: 8px; }
.error .tag { color: var(--bad); }
.follows .tag { color: var(--soft); }
ul { margin: 6px 0; padding-left: 20px; }
svg { display: block; width: 100%; height: auto; min-width: 520px; max-width: 860px; margin: 0 auto; }
svg text { font-family: inherit; }
.filters img { width: min(100%, 300px); image-rendering: pixelated; display: block; margin: 0 auto; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(104px, 1fr)); gap: 14px; }
.tiles figure { margin: 0; }
.tiles img { width: 100%; aspect-ratio: 1; object-fit: contain; image-rendering: pixelated; border-radius: 8px;
  background: var(--page); display: block; }
figcaption { font-size: 0.8rem; line-height: 1.35; color: var(--soft); margin-top: 4px; overflow-wrap: anywhere; }
figcaption b { color: var(--ink); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.88rem; }
th { font-weight: 600; color: var(--soft); text-align: right; padding: 5px 10px; white-space: nowrap; }
td { text-align: right; padding: 5px 10px; border-top: 1px solid var(--line); }
th.name, td.name { text-align: left; }
td.name { overflow-wrap: anywhere; min-width: 12ch; }
.layers { width: 100%; }
.total td { font-weight: 650; border-top: 2px solid var(--line); }
.confusion td { border: 1px solid var(--card); min-width: 34px; text-align: center; padding: 6px;
  background: color-mix(in srgb, var(--c2) calc(var(--share) * 100%), var(--page)); }
.confusion td.wrong { background: color-mix(in srgb, var(--c1) calc(var(--share) * 100%), var(--page)); }
.confusion td.recall { background: none; color: var(--soft); text-align: right; }
footer { color: var(--soft); font-size: 0.85rem; padding-top: 8px; padding-bottom: 40px; }
@media (max-width: 560px) { section { padding: 16px 14px; } h1 { font-size: 1.5rem; } }
@media print { body { background: #fff; } section, .card { break-inside: avoid; } }
""".strip()
