/** The style sheet of a report: readable in light and dark, on paper and on a telephone. */
export const reportStyle = `
:root {
  color-scheme: light dark;
  --text: #1b2130; --muted: #5b6474; --page: #f6f7f9; --card: #ffffff; --line: #dfe3ea;
  --ours: #1f5fbf; --theirs: #b35300; --gain: #1f5fbf; --loss: #c2571a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --text: #e8ebf1; --muted: #a3adbd; --page: #12151b; --card: #1b2029; --line: #333b49;
    --ours: #7db2ff; --theirs: #f2a65a; --gain: #7db2ff; --loss: #f2955a;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; padding: 2rem 1.25rem 4rem; background: var(--page); color: var(--text);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main { max-width: 76rem; margin: 0 auto; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .35rem; }
h2 { font-size: 1.35rem; margin: 1.25rem 0 .1rem; }
header ~ header h2 { margin-top: 3.5rem; }
h3 { font-size: 1.15rem; margin: 0 0 .25rem; }
p { margin: .25rem 0 .75rem; max-width: 48rem; }
.muted, figcaption, dt { color: var(--muted); }
code { font: .92em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); gap: .75rem; margin: 1rem 0 1.25rem; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .8rem 1rem; margin: 0; }
.tile dt { font-size: .85rem; }
.tile dd { margin: 0; font-size: 1.55rem; font-weight: 650; font-variant-numeric: tabular-nums; }
.tile dd small { display: block; font-size: .82rem; font-weight: 400; color: var(--muted); }
section.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1.1rem 1.25rem 1.25rem; margin: 1rem 0; }
.pair { display: grid; grid-template-columns: minmax(0, 1.25fr) minmax(0, 1fr); gap: 1.5rem; align-items: start; }
.pair.even { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); }
@media (max-width: 60rem) { .pair, .pair.even { grid-template-columns: minmax(0, 1fr); } }
figure { margin: 0 0 .75rem; overflow-x: auto; }
figure svg { width: 100%; min-width: 32rem; max-width: 54rem; height: auto; color: var(--text); }
figure svg [class$="-grid"] { stroke: var(--line); stroke-opacity: 1; }
figcaption { font-size: .88rem; }
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--muted); font-size: .88rem; padding-bottom: .35rem; }
th, td { padding: .32rem .55rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
thead th { color: var(--muted); font-weight: 600; white-space: nowrap; }
tbody th { font-weight: 600; }
th:first-child, td.text, th.text { text-align: left; }
td.gain { color: var(--gain); font-weight: 600; } td.loss { color: var(--loss); font-weight: 600; }
footer { margin-top: 2.5rem; font-size: .88rem; color: var(--muted); }
@media print { body { background: none; padding: 0; } section.card, .tile { break-inside: avoid; } }
`;
