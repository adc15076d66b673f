// The style sheet of a page: for wide and narrow windows, light and dark, screen and paper. No fonts or
// pictures from elsewhere.
#pragma once

#include <string_view>

namespace morphvlm::detail {

inline constexpr std::string_view kPageStyle = R"(<style>
:root{--paper:#fff;--card:#f6f8fa;--ink:#1c2430;--soft:#5b6675;--rule:#dfe4ea;--accent:#0b6bb8;--good:#0a7a4f;--bad:#b3261e;color-scheme:light dark}
@media screen and (prefers-color-scheme:dark){:root{--paper:#12161c;--card:#1a2029;--ink:#e6eaf0;--soft:#a3adba;--rule:#2f3843;--accent:#5aaef0;--good:#4fd196;--bad:#ff8a80}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1120px;margin:0 auto;padding:32px 24px 64px}
h1{font-size:2rem;line-height:1.2;margin:0 0 .3em}
h2{font-size:1.3rem;line-height:1.3;margin:2.2em 0 .6em;padding-top:.7em;border-top:1px solid var(--rule)}
p{max-width:75ch;margin:.6em 0;overflow-wrap:anywhere}
.lead{font-size:1.1rem;color:var(--soft)}
.note{font-size:.875rem;color:var(--soft)}
pre{background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:12px 14px;overflow-x:auto;font:13px/1.5 ui-monospace,monospace}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,200px),1fr));gap:12px;margin:1.2em 0}
.tile{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:14px 16px}
.tile b{display:block;font-size:1.75rem;line-height:1.2;font-variant-numeric:tabular-nums}
.tile span{display:block}.tile small{display:block;color:var(--soft)}
.table{overflow-x:auto;margin:1em 0}
table{border-collapse:collapse;font-size:.94rem;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600;padding:0 0 .4em;white-space:nowrap}
th,td{text-align:left;padding:6px 18px 6px 0;border-bottom:1px solid var(--rule);vertical-align:top}
th{font-weight:600;color:var(--soft);border-bottom:2px solid var(--rule)}
.right{text-align:right;padding:6px 0 6px 18px;white-space:nowrap}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:20px;margin:1.2em 0}
figure{margin:0;min-width:0}
.figures figure{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:12px;max-width:720px}
.figures svg.mvplot{display:block;width:100%;height:auto}
figcaption{font-size:.875rem;color:var(--soft);margin-top:8px}
.pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,180px),1fr));gap:14px;margin:1.2em 0}
.pictures figure{background:var(--card);border:1px solid var(--rule);border-radius:10px;overflow:hidden}
.pictures img{display:block;width:100%;max-height:320px;object-fit:contain;image-rendering:pixelated;background:var(--rule)}
.pictures dl{margin:0;padding:10px 12px;font-size:.9rem;line-height:1.4}
.pictures dl div{padding:2px 0;overflow-wrap:anywhere}
.pictures dt{display:inline;color:var(--soft)}.pictures dt::after{content:" "}.pictures dd{display:inline;margin:0}
.good{color:var(--good);font-weight:600}.bad{color:var(--bad);font-weight:600}
footer{margin-top:3em;padding-top:1em;border-top:1px solid var(--rule)}
@media (max-width:600px){main{padding:20px 14px 40px}h1{font-size:1.6rem}.pictures{grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:10px}.figures figure{padding:8px 4px}.right{padding-left:12px}th,td{padding-right:12px}}
@media print{main{max-width:none;padding:0}body{font-size:11pt}.pictures{grid-template-columns:repeat(4,1fr)}h2{break-after:avoid}figure,.tile,tr{break-inside:avoid}.table{overflow:visible}pre{white-space:pre-wrap}}
</style>
)";

}  // namespace morphvlm::detail
