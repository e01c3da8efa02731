#include "framework/engine/report/html.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace strata::engine::html {
namespace {

// Colours of series: Okabe and Ito's, which colour-blind readers can tell apart, lighter on dark.
constexpr std::string_view kStyle = R"(
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--text:#1c2330;--muted:#667085;
--line:#e4e7ec;--accent:#1d5fd1;--heat:29,95,209;--bad:196,62,28;
--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#cc79a7;--c4:#b58900;--c5:#3fa7e0;--c6:#7a6ff0;--c7:#7f7f7f}
@media(prefers-color-scheme:dark){:root{--page:#11151c;--card:#1a202b;--text:#e6e9ef;
--muted:#98a2b3;--line:#2c3442;--accent:#7fb0ff;--heat:90,150,255;--bad:255,120,80;
--c0:#4aa8e0;--c1:#ff8a3d;--c2:#2fc79a;--c3:#e39cc4;--c4:#e6bf3c;--c5:#8fd3ff;--c6:#a79dff;--c7:#a8a8a8}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);font:15px/1.5 system-ui,-apple-system,
"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1180px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:26px;line-height:1.25;margin:0;overflow-wrap:anywhere}
h2{font-size:18px;margin:36px 0 12px}
h3{font-size:14px;margin:0 0 10px;font-weight:600}
p{margin:4px 0 12px}.muted,small{color:var(--muted)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:20px 0}
.card,.box{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 16px}
.card span{display:block;color:var(--muted);font-size:13px;overflow-wrap:anywhere}
.card b{font-size:22px;font-weight:600;font-variant-numeric:tabular-nums}
.card small{display:block}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:14px}
.box{overflow-x:auto;min-width:0}.wide{grid-column:1/-1}.tall{max-height:760px;overflow-y:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;width:100%}
th{font-weight:600;text-align:right;color:var(--muted);font-size:13px}
td,th{padding:4px 10px;border-bottom:1px solid var(--line)}
td{text-align:right}td:first-child,th:first-child{text-align:left;padding-left:0}
tr:last-child td{border-bottom:0}tr.mean td{font-weight:600}
table.facts td:last-child{text-align:left;overflow-wrap:anywhere}
table.facts td:first-child{color:var(--muted);white-space:nowrap;vertical-align:top}
td.bar{background:linear-gradient(rgba(var(--heat),.22),rgba(var(--heat),.22)) no-repeat left/var(--w) 76%}
table.heat{width:auto}table.heat td{text-align:center;border:1px solid var(--card);min-width:38px;
padding:5px 6px;font-size:12.5px}
table.heat th{font-size:12.5px;border:0;padding:3px 6px;max-width:160px;overflow:hidden;
text-overflow:ellipsis;white-space:nowrap}
table.heat thead th{text-align:center}table.heat tbody th{text-align:right}
table.tight thead th{writing-mode:vertical-rl;transform:rotate(180deg);max-width:none;max-height:130px;
text-align:left;padding:6px 3px}
table.small td{min-width:28px;padding:4px 2px;font-size:10.5px}table.small th{font-size:11px;max-width:120px}
svg{display:block;width:100%;height:auto}svg text{fill:var(--muted);font-size:11px}
svg .grid-line{stroke:var(--line)}
.keys{display:flex;flex-wrap:wrap;gap:2px 16px;font-size:13px;margin-top:8px}
.keys i,.swatch{display:inline-block;width:12px;height:12px;border-radius:3px;margin-right:6px;
vertical-align:-1px;border:1px solid rgba(128,128,128,.35)}
.keys em{font-style:normal;color:var(--muted)}.keys b{font-weight:600;font-variant-numeric:tabular-nums}
figure{margin:0 0 14px}figcaption{font-size:13px;margin-bottom:6px;overflow-wrap:anywhere}
.row{display:grid;grid-auto-flow:column;grid-auto-columns:minmax(120px,1fr);gap:6px;overflow-x:auto}
.row div{min-width:0}.row small{display:block;text-align:center}
img{display:block;width:100%;border-radius:4px;background:#808080}
details{margin:8px 0}summary{cursor:pointer;color:var(--accent)}
pre{font:12.5px/1.5 ui-monospace,"DejaVu Sans Mono",monospace;overflow-x:auto;margin:10px 0 0}
a{color:var(--accent)}
@media print{body{background:#fff}.box,.card{break-inside:avoid}.tall{max-height:none}}
)";

}  // namespace

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        if (static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t') out += c;
    }
  }
  return out;
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t three = 0;
    for (std::size_t k = 0; k < 3; ++k) {
      three = three << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    }
    for (std::size_t k = 0; k < 4; ++k) {
      out += i + k > bytes.size() ? '=' : kDigits[three >> (18 - 6 * k) & 63];
    }
  }
  return out;
}

std::string image(const std::string& type, const std::string& base64, const std::string& alt) {
  return fmt::format("<img alt=\"{}\" src=\"data:image/{};base64,{}\">", escaped(alt), type,
                     base64);
}

std::string number(double value, int decimals) {
  if (std::isnan(value)) return "–";
  const double size = std::abs(value);
  if (size >= 100 && size < 1e6) decimals = std::min(decimals, 1);
  if (size != 0 && (size < 1e-3 || size >= 1e6)) return fmt::format("{:.3g}", value);
  return fmt::format("{:.{}f}", value, decimals);
}

std::string facts(const std::vector<std::pair<std::string, std::string>>& rows) {
  std::string out = "<table class=\"facts\">\n";
  for (const auto& [name, value] : rows) {
    out += fmt::format("<tr><td>{}</td><td>{}</td></tr>\n", escaped(name), escaped(value));
  }
  return out + "</table>\n";
}

std::string page(const std::string& title, const std::string& body) {
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n<main>\n{}</main>\n</body>\n</"
      "html>\n",
      escaped(title), kStyle, body);
}

}  // namespace strata::engine::html
