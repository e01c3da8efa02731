#include "framework/engine/report.hpp"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "framework/engine/report/chart.hpp"
#include "framework/engine/report/html.hpp"
#include "framework/io/image.hpp"
#include "tests/support/temp_dir.hpp"

namespace strata::engine {
namespace {

using testing::HasSubstr;
using testing::Not;
using tests::file_content;
using tests::TempDir;
using tests::write_file;

// Elements are closed in the order in which they were opened, names and texts are escaped, and
// nothing is fetched from anywhere.
void expect_sound(const std::string& html) {
  const std::set<std::string> kVoid = {"meta", "img", "!DOCTYPE"};
  std::vector<std::string> open;
  for (std::size_t at = html.find('<'); at != std::string::npos; at = html.find('<', at + 1)) {
    if (open.size() && open.back() == "style" && html.compare(at, 8, "</style>") != 0) continue;
    const std::size_t end = html.find('>', at);
    ASSERT_NE(end, std::string::npos);
    std::string tag = html.substr(at + 1, end - at - 1);
    const bool closes = tag.starts_with("/"), empty = tag.ends_with("/");
    const std::string name = tag.substr(closes, tag.find_first_of(" /", closes) - closes);
    if (closes) {
      ASSERT_FALSE(open.empty()) << name;
      ASSERT_EQ(open.back(), name) << html.substr(at > 200 ? at - 200 : 0, 300);
      open.pop_back();
    } else if (!empty && kVoid.count(name) == 0) {
      open.push_back(name);
    }
  }
  EXPECT_TRUE(open.empty());
  for (const char* outside : {"src=\"http", "href=", "url(", "@import", "<script", "<link"}) {
    EXPECT_THAT(html, Not(HasSubstr(outside)));
  }
}

TEST(Report, ShowsWhatLiesInTheWorkDir) {
  const TempDir dir;
  write_file(dir / "scalars.jsonl",
             "{\"step\":50,\"lr\":0.1,\"loss\":2.0,\"head.ce\":2.0,\"head.acc_seg\":50.0}\n"
             "{\"step\":100,\"lr\":0.1,\"loss\":1.0,\"head.ce\":1.0,\"head.acc_seg\":75.0}\n"
             "{\"step\":100,\"val.miou\":0.25,\"val.iou.<road>\":0.5,\"val.iou.car\":null}\n"
             "{\"step\":150,\"lo");  // still being written
  write_file(dir / "timing.jsonl",
             "{\"step\":0,\"first_step_begins\":0.5,\"resident_mib\":100}\n"
             "{\"step\":50,\"time\":0.25,\"data_time\":0.125,\"memory_mib\":200}\n"
             "{\"step\":100,\"time\":0.75,\"data_time\":0.0,\"memory_mib\":300}\n"
             "{\"step\":100,\"validation_time\":3.2}\n");
  write_file(dir / "step_100/state.json",
             "{\"steps\":400,\"best\":{\"name\":\"miou\",\"value\":0.25,\"step\":100}}");
  write_file(dir / "metrics.json", "{\"f1.changed\": 0.875, \"iou.never\": null}");
  write_file(dir / "config.toml", "a = \"<b>\"\n");
  write_file(dir / "config_origins.toml", "a = 1  # c.toml:1\n");
  write_file(dir / "environment.json", "{\"processor\":\"fast & small\",\"started\":\"today\"}");
  write_file(
      dir / "validation.json",
      R"({"what":"data.val","rank":"miou","labels":[{"name":"land","classes":["<road>","car"],)"
      R"("palette":[[1,2,3],[4,5,6]]}],"sets":[{"name":"","metrics":[{"name":"iou","columns":["IoU"],)"
      R"("rows":[{"name":"<road>","values":[0.5]},{"name":"car","values":[null]}],)"
      R"("overall":[["accuracy",0.75]],"confusion":{"classes":["<road>","car"],"counts":[30,10,0,0]}}],)"
      R"("samples":1,"worst":[{"name":"<x>","score":0.5,"pictures":[{"title":"image","type":"jpeg",)"
      R"("data":"QUJD"}]}],"best":[]}]})");
  io::write_png(dir / "predictions/b 1_overlay.png", at::full({4, 6, 3}, 200, at::kByte));
  io::write_png(dir / "predictions/a_overlay.png", at::full({4, 6, 3}, 100, at::kByte));
  write_file(dir / "predictions/c_overlay.png", "being written");
  io::write_png(dir / "pictures/step_90/old.png", at::full({4, 6, 3}, 100, at::kByte));
  io::write_png(dir / "pictures/step_100/new.png", at::full({4, 6, 3}, 100, at::kByte));
  write_report(dir.path());

  const std::string html = file_content(dir / "report.html");
  expect_sound(html);
  // 500 x 220 from (46, 8): steps 0 to 100, losses 1 to 2.
  EXPECT_THAT(html, HasSubstr("points=\"296.0,8.0 546.0,228.0\"><title>total</title>"));
  EXPECT_THAT(html, HasSubstr("<span>best miou</span><b>0.2500</b><small>validation at step 100<"));
  EXPECT_THAT(html, HasSubstr("<span>steps</span><b>100</b><small>of 400</small>"));
  EXPECT_THAT(html, HasSubstr("<span>time a step</span><b>0.750 s</b>"));
  // 50 x 0.25 + 50 x 0.75 s, 50 x 0.125 of them for data.
  EXPECT_THAT(html, HasSubstr("<span>training</span><b>0:00:50</b><small>12.5 % waited for data<"));
  EXPECT_THAT(html, HasSubstr("<b>300 MiB</b>"));
  EXPECT_THAT(html, HasSubstr("<td>from start to the first step</td><td>0.50 s</td>"));
  EXPECT_THAT(html, HasSubstr("<td>validations took</td><td>0:00:03</td>"));
  EXPECT_THAT(html, HasSubstr("<td>f1.changed</td><td>0.875000</td>"));
  EXPECT_THAT(html, HasSubstr("<td>iou.never</td><td>–</td>"));
  EXPECT_THAT(html, HasSubstr("<td>iou.&lt;road&gt;</td><td>0.500000</td>"));
  EXPECT_THAT(html, HasSubstr("title=\"&lt;road&gt; as car: 10 pixels\">25.0</td>"));
  EXPECT_THAT(html, HasSubstr("style=\"--w:50.0%\">0.5000</td>"));
  EXPECT_THAT(html, HasSubstr("<figcaption>&lt;x&gt; <b>0.5000</b></figcaption>"));
  EXPECT_THAT(html, HasSubstr("alt=\"&lt;x&gt;, image\" src=\"data:image/jpeg;base64,QUJD\""));
  EXPECT_THAT(html, Not(HasSubstr("<road>")));
  EXPECT_THAT(html, HasSubstr("a = &quot;&lt;b&gt;&quot;"));
  EXPECT_THAT(html, HasSubstr("a = 1  # c.toml:1"));
  EXPECT_THAT(html, HasSubstr("<td>fast &amp; small</td>"));
  EXPECT_THAT(html, HasSubstr("2 of 3 in predictions/"));
  EXPECT_LT(html.find(">a_overlay.png<"), html.find(">b 1_overlay.png<"));
  EXPECT_THAT(html, HasSubstr("1 of 1 in pictures/step_100/"));
  EXPECT_THAT(html, HasSubstr("<figcaption>new.png</figcaption>"));
  EXPECT_THAT(html, Not(HasSubstr("old.png")));
}

TEST(Report, DrawsTheWeakestOfManyClasses) {
  const TempDir dir;
  std::string line = "{\"step\":100";
  for (int c = 0; c < 150; ++c) {
    line += ",\"val.iou.class" + std::to_string(c) + "\":" + std::to_string((c * 7) % 150 / 150.0);
  }
  write_file(dir / "scalars.jsonl", line + "}\n");
  write_report(dir.path());
  const std::string html = file_content(dir / "report.html");
  expect_sound(html);
  EXPECT_THAT(html, HasSubstr("<h3>IoU of the 12 weakest of 150 classes</h3>"));
  // 7 * 43 = 301 = 1 modulo 150.
  EXPECT_THAT(html, HasSubstr("<title>class43</title>"));
  EXPECT_THAT(html, Not(HasSubstr("<title>class7</title>")));
}

TEST(Report, NeedsNothingButTheLog) {
  const TempDir dir;
  write_file(dir / "scalars.jsonl", "");
  write_file(dir / "validation.json", "{\"sets\": [{\"nam");  // cut short
  write_report(dir.path());
  const std::string html = file_content(dir / "report.html");
  expect_sound(html);
  EXPECT_THAT(html, HasSubstr("<h1>"));
  EXPECT_THAT(html, Not(HasSubstr("<svg")));
}

TEST(Report, IsWrittenForRunsOnly) {
  const TempDir dir;
  write_file(dir / "metrics.json", "{}");
  write_report(dir.path());
  EXPECT_FALSE(std::filesystem::exists(dir.path() + "/report.html"));
}

TEST(ReportHtml, EncodesBytesAndText) {
  // The examples of RFC 4648.
  const std::vector<std::pair<std::string, std::string>> examples = {
      {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foobar", "Zm9vYmFy"}};
  for (const auto& [plain, encoded] : examples) EXPECT_EQ(html::base64(plain), encoded);
  EXPECT_EQ(html::escaped("<a href=\"x\">&\x01</a>"),
            "&lt;a href=&quot;x&quot;&gt;&amp;&lt;/a&gt;");
  EXPECT_EQ(html::number(std::nan("")), "–");
  EXPECT_EQ(html::number(1.25e-5), "1.25e-05");
  EXPECT_EQ(html::number(422.25), "422.2");
}

TEST(ReportHtml, DrawsRoundTicksAndLogarithmicAxes) {
  const std::string plain = html::line_chart("a", {{"x", {{0, 0.13}, {97, 0.48}}}});
  for (const char* tick : {">0.1<", ">0.5<", ">0<", ">80<"}) EXPECT_THAT(plain, HasSubstr(tick));
  const std::string wide = html::line_chart("a", {{"x", {{0, 2e-6}, {10, 0.3}}}}, true);
  for (const char* tick : {">1e-06<", ">0.001<", ">1<"}) EXPECT_THAT(wide, HasSubstr(tick));
  EXPECT_EQ(html::line_chart("a", {{"x", {{0, std::nan("")}}}}), "");
  // Thousands of points become means of neighbours.
  html::Points many;
  for (int i = 0; i < 4000; ++i) many.emplace_back(i, i % 10);
  EXPECT_THAT(html::line_chart("a", {{"x", many}}), HasSubstr("<b>4.5000</b>"));
}

TEST(ReportHtml, ListsTheLargestConfusionsOfManyClasses) {
  ConfusionTable table;
  for (int c = 0; c < 40; ++c) table.classes.push_back("c" + std::to_string(c));
  table.counts.assign(1600, 0);
  table.counts[3 * 40 + 3] = 75;
  table.counts[3 * 40 + 7] = 25;
  const std::string html = html::confusion_table(table);
  EXPECT_THAT(html, HasSubstr("<td>c3</td><td>c7</td><td>25.0 %</td><td>25</td>"));
  EXPECT_THAT(html, Not(HasSubstr("class=\"heat\"")));
  EXPECT_THAT(html::confusion_box("iou", table),
              HasSubstr("<h3>iou: the largest confusions of 40 classes</h3>"));
}

}  // namespace
}  // namespace strata::engine
