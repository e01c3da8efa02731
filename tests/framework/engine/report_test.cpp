#include "framework/engine/report.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/support/temp_dir.hpp"

namespace strata::engine {
namespace {

using testing::HasSubstr;
using testing::Not;
using tests::file_content;
using tests::TempDir;
using tests::write_file;

TEST(Report, ShowsWhatLiesInTheWorkDir) {
  const TempDir dir;
  write_file(dir / "scalars.jsonl",
             "{\"step\":50,\"lr\":0.1,\"loss\":2.0,\"head.ce\":2.0}\n"
             "{\"step\":100,\"lr\":0.1,\"loss\":1.0,\"head.ce\":1.0}\n"
             "{\"step\":100,\"val.miou\":0.25,\"val.iou.<road>\":0.5,\"val.iou.car\":null}\n"
             "{\"step\":150,\"lo");  // still being written
  write_file(dir / "timing.jsonl",
             "{\"step\":0,\"first_step_begins\":0.5,\"resident_mib\":100}\n"
             "{\"step\":50,\"time\":0.25,\"memory_mib\":200}\n"
             "{\"step\":100,\"time\":0.75,\"memory_mib\":300}\n");
  write_file(dir / "metrics.json", "{\"f1.changed\": 0.875, \"iou.never\": null}");
  write_file(dir / "config.toml", "a = \"<b>\"\n");
  write_file(dir / "predictions/b 1_overlay.png", "");
  write_file(dir / "predictions/a_overlay.png", "");
  write_file(dir / "predictions/a.png", "");
  write_report(dir.path());

  const std::string html = file_content(dir / "report.html");
  // 640 x 240 from (60, 10): steps 0 to 100, losses 1 to 2.
  EXPECT_THAT(html, HasSubstr("points=\"380.0,10.0 700.0,250.0\""));
  EXPECT_THAT(html, HasSubstr("<tr><td>steps</td><td>100</td></tr>"));
  EXPECT_THAT(html, HasSubstr("<td>seconds a step (median)</td><td>0.750</td>"));
  EXPECT_THAT(html, HasSubstr("<td>seconds from start to the first step</td><td>0.50</td>"));
  EXPECT_THAT(html, HasSubstr("<td>largest memory</td><td>300 MiB</td>"));
  EXPECT_THAT(html, HasSubstr("<td>f1.changed</td><td>0.8750</td>"));
  EXPECT_THAT(html, HasSubstr("<td>iou.never</td><td>-</td>"));
  EXPECT_THAT(html, HasSubstr("<td>iou.&lt;road&gt;</td><td>0.5000</td>"));
  EXPECT_THAT(html, Not(HasSubstr("<road>")));
  EXPECT_THAT(html, HasSubstr("a = &quot;&lt;b&gt;&quot;"));
  EXPECT_THAT(html, HasSubstr("2 of 2, in"));
  EXPECT_LT(html.find("predictions/a_overlay.png"), html.find("predictions/b%201_overlay.png"));
  EXPECT_THAT(html, Not(HasSubstr("\"predictions/a.png\"")));
}

TEST(Report, NeedsNothingButTheLog) {
  const TempDir dir;
  write_file(dir / "scalars.jsonl", "");
  write_report(dir.path());
  EXPECT_THAT(file_content(dir / "report.html"), HasSubstr("<h1>"));
  EXPECT_THAT(file_content(dir / "report.html"), Not(HasSubstr("<svg")));
}

TEST(Report, IsWrittenForRunsOnly) {
  const TempDir dir;
  write_file(dir / "metrics.json", "{}");
  write_report(dir.path());
  EXPECT_FALSE(std::filesystem::exists(dir.path() + "/report.html"));
}

}  // namespace
}  // namespace strata::engine
