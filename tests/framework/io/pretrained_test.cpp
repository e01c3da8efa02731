// Weights by name, from a server on this machine: what is fetched, kept, gone on with and refused.
#include "framework/io/pretrained.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "framework/base/error.hpp"
#include "framework/base/files.hpp"
#include "framework/base/log.hpp"
#include "framework/io/download.hpp"
#include "framework/io/tensor_file.hpp"
#include "tests/support/http_server.hpp"
#include "tests/support/temp_dir.hpp"

namespace strata::io {
namespace {

namespace fs = std::filesystem;
using tests::file_content;
using tests::file_reply;
using tests::HttpReply;
using tests::HttpRequest;
using tests::HttpServer;
using tests::TempDir;
using tests::write_file;

/// Variables of the environment, as they were once the test is over.
class Environment {
 public:
  ~Environment() {
    for (const auto& [name, value] : before_) {
      value ? ::setenv(name.c_str(), value->c_str(), 1) : ::unsetenv(name.c_str());
    }
  }
  void set(const std::string& name, const std::string& value) {
    const char* old = std::getenv(name.c_str());
    before_.emplace(name, old == nullptr ? std::nullopt : std::optional<std::string>(old));
    ::setenv(name.c_str(), value.c_str(), 1);
  }

 private:
  std::map<std::string, std::optional<std::string>> before_;
};

std::string replaced(std::string text, const std::string& what, const std::string& with) {
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + with.size())) {
    text.replace(at, what.size(), with);
  }
  return text;
}

std::string sum_of_text(const TempDir& folder, const std::string& text) {
  write_file(folder / "sum", text);
  return sha256_of(folder / "sum");
}

TEST(Sha256, OfKnownTexts) {  // FIPS 180-4's examples
  const TempDir folder;
  EXPECT_EQ(sum_of_text(folder, "abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sum_of_text(folder, ""),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_TRUE(is_sha256("0123abcd"));
  EXPECT_FALSE(is_sha256("0123abc"));
  EXPECT_FALSE(is_sha256("0123ABCD"));
}

// --- one file ---

class DownloadTest : public testing::Test {
 protected:
  void SetUp() override {
    environment_.set("no_proxy", "127.0.0.1");
    log::set_level(log::Level::warning);
  }
  void TearDown() override { log::set_level(log::Level::info); }

  void serve(HttpServer::Handler handler) {
    server_ = std::make_unique<HttpServer>(std::move(handler));
  }
  Download request(const std::string& path = "/w.bin") {
    Download what{"w", server_->url() + path, folder_ / "cache/w.bin"};
    what.pause = std::chrono::milliseconds(0);
    return what;
  }
  /// What the fetch says, with the server's address as "URL" and the folder as "DIR".
  std::string message(const Download& what) {
    try {
      return download(what) ? "fetched" : "not there";
    } catch (const CheckpointError& error) {
      return replaced(replaced(error.what(), server_->url(), "URL"), folder_.path(), "DIR");
    }
  }
  std::size_t files() {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder_ / "cache"), {}));
  }

  Environment environment_;
  TempDir folder_;
  std::unique_ptr<HttpServer> server_;
  const std::string bytes_ = [] {
    std::string text;
    for (int i = 0; i < 200'000; ++i) text += static_cast<char>(i * 7 % 251);
    return text;
  }();
};

TEST_F(DownloadTest, KeepsTheFileAndAsksNoMore) {
  serve([&](const HttpRequest& request) { return file_reply(request, bytes_); });
  EXPECT_EQ(message(request()), "fetched");
  EXPECT_EQ(file_content(folder_ / "cache/w.bin"), bytes_);
  EXPECT_EQ(files(), 1u);
  EXPECT_EQ(message(request()), "fetched");
  EXPECT_EQ(server_->seen(), (std::vector<std::string>{"HEAD /w.bin", "GET /w.bin"}));
}

TEST_F(DownloadTest, FollowsRedirectsAndTellsTheTokenToTheFirstServerOnly) {
  HttpServer other([&](const HttpRequest& request) { return file_reply(request, bytes_); });
  serve([&](const HttpRequest& request) {
    if (request.path == "/w.bin") return HttpReply{302, {{"Location", "/moved"}}};
    return HttpReply{307, {{"Location", other.url() + "/far"}}};
  });
  Download what = request();
  what.token = "secret";
  EXPECT_EQ(message(what), "fetched");
  EXPECT_EQ(file_content(what.path), bytes_);
  for (const HttpRequest& one : server_->requests()) {
    EXPECT_EQ(one.header("authorization"), "Bearer secret") << one.path;
  }
  ASSERT_EQ(other.seen(), (std::vector<std::string>{"HEAD /far", "GET /far"}));
  for (const HttpRequest& one : other.requests()) EXPECT_EQ(one.header("authorization"), "");
}

TEST_F(DownloadTest, ARedirectWithoutEndIsRefused) {
  serve([](const HttpRequest& request) {
    return HttpReply{302, {{"Location", request.path + "x"}}};
  });
  EXPECT_EQ(message(request()),
            "w: cannot be fetched from URL/w.bin: Maximum (10) redirects followed");
}

TEST_F(DownloadTest, GoesOnWhereTheConnectionBroke) {
  int gets = 0;
  serve([&](const HttpRequest& request) {
    HttpReply reply = file_reply(request, bytes_, "v1");
    if (request.method == "GET" && ++gets <= 5) reply.cut = 30'000;  // more often than attempts
    return reply;
  });
  EXPECT_EQ(message(request()), "fetched");
  EXPECT_EQ(file_content(folder_ / "cache/w.bin"), bytes_);
  EXPECT_EQ(server_->requests().back().header("range"), "bytes=150000-");
}

TEST_F(DownloadTest, ALaterRunGoesOnWithTheSameFileOnly) {
  std::string tag = "v1", bytes = bytes_;
  bool cuts = true;
  serve([&](const HttpRequest& request) {
    HttpReply reply = file_reply(request, bytes, tag);
    if (cuts && request.method == "GET") {
      reply.cut = request.header("range").empty() ? 50'000 : 0;
    }
    return reply;
  });
  EXPECT_EQ(message(request()),
            "w: the transfer from URL/w.bin broke off: transfer closed with "
            "150000 bytes remaining to read; start again to go on from there");
  EXPECT_FALSE(fs::exists(folder_ / "cache/w.bin"));
  EXPECT_EQ(files(), 1u);
  // Of another version nothing is taken over.
  tag = "v2";
  bytes = bytes_ + "more";
  cuts = false;
  EXPECT_EQ(message(request()), "fetched");
  EXPECT_EQ(server_->requests().back().header("range"), "");
  EXPECT_EQ(file_content(folder_ / "cache/w.bin"), bytes);
  fs::remove(folder_ / "cache/w.bin");
  tag = "v1";
  bytes = bytes_;
  EXPECT_EQ(message(request()), "fetched");
  EXPECT_EQ(server_->requests().back().header("range"), "bytes=50000-");
  EXPECT_EQ(file_content(folder_ / "cache/w.bin"), bytes_);
}

TEST_F(DownloadTest, AFileThatChangesMeanwhileIsFetchedAnew) {
  int gets = 0;
  serve([&](const HttpRequest& request) {
    if (request.method == "GET") ++gets;
    HttpReply reply =
        file_reply(request, gets > 1 ? std::string(200'000, 'b') : bytes_, gets > 1 ? "v2" : "v1");
    if (gets == 1) reply.cut = 1000;
    return reply;
  });
  EXPECT_EQ(message(request()), "fetched");
  EXPECT_EQ(file_content(folder_ / "cache/w.bin"), std::string(200'000, 'b'));
}

TEST_F(DownloadTest, WithoutATagEveryAttemptBeginsAnew) {
  int gets = 0;
  serve([&](const HttpRequest& request) {
    HttpReply reply = file_reply(request, bytes_);
    if (request.method == "GET" && ++gets == 1) reply.cut = 100;
    return reply;
  });
  EXPECT_EQ(message(request()), "fetched");
  EXPECT_EQ(server_->requests().back().header("range"), "");
  EXPECT_EQ(file_content(folder_ / "cache/w.bin"), bytes_);
}

TEST_F(DownloadTest, AServerThatKnowsNoRangesSendsAllAgain) {
  int gets = 0;
  serve([&](HttpRequest request) {
    request.headers.erase("range");
    HttpReply reply = file_reply(request, bytes_, "v1");
    if (request.method == "GET" && ++gets == 1) reply.cut = 100;
    return reply;
  });
  EXPECT_EQ(message(request()), "fetched");
  EXPECT_EQ(file_content(folder_ / "cache/w.bin"), bytes_);
}

TEST_F(DownloadTest, AnAlwaysTruncatedFileIsNoFile) {
  serve([&](const HttpRequest& request) {
    HttpReply reply = file_reply(request, bytes_);
    reply.cut = 1000;
    return reply;
  });
  EXPECT_EQ(message(request()),
            "w: the transfer from URL/w.bin broke off: transfer closed with "
            "199000 bytes remaining to read; try again");
  EXPECT_EQ(server_->seen().size(), 1u + 1u + 3u);  // the second begins to count again
}

TEST_F(DownloadTest, MoreOrFewerBytesThanSaid) {
  serve([&](const HttpRequest& request) {
    if (request.method == "HEAD") return file_reply(request, bytes_.substr(0, 100));
    return file_reply(request, bytes_);
  });
  EXPECT_EQ(message(request()), "w: URL/w.bin gives more than the 100 bytes that it said");
  serve([&](const HttpRequest& request) {
    if (request.method == "HEAD") return file_reply(request, bytes_);
    return file_reply(request, bytes_.substr(0, 100));
  });
  EXPECT_EQ(message(request()), "w: URL/w.bin gave 100 bytes of 200000; try again");
  EXPECT_FALSE(fs::exists(folder_ / "cache/w.bin"));
}

TEST_F(DownloadTest, ABusyServerIsAskedAgain) {
  int gets = 0;
  serve([&](const HttpRequest& request) {
    if (request.method == "GET" && ++gets < 3) return HttpReply{503};
    return file_reply(request, bytes_);
  });
  EXPECT_EQ(message(request()), "fetched");
  serve([](const HttpRequest&) { return HttpReply{503}; });
  fs::remove(folder_ / "cache/w.bin");
  EXPECT_EQ(message(request()), "w: the server refuses URL/w.bin (HTTP 503)");
}

TEST_F(DownloadTest, MissingRefusedAndAWebPage) {
  serve([](const HttpRequest&) { return HttpReply{404}; });
  EXPECT_EQ(message(request()), "not there");
  serve([](const HttpRequest&) {
    return HttpReply{401,
                     {{"X-Error-Code", "GatedRepo"}, {"X-Error-Message", "Access restricted"}}};
  });
  Download what = request();
  what.refused = "; set HF_TOKEN";
  EXPECT_EQ(message(what),
            "w: the server refuses URL/w.bin (HTTP 401): \"Access restricted\"; set "
            "HF_TOKEN");
  serve([](const HttpRequest& request) {  // and no HEAD
    return HttpReply{request.method == "HEAD" ? 405 : 403};
  });
  EXPECT_EQ(message(request()), "w: the server refuses URL/w.bin (HTTP 403)");
  serve([](const HttpRequest&) {
    return HttpReply{200, {{"Content-Type", "text/html; charset=utf-8"}}, "<html>log in</html>"};
  });
  EXPECT_EQ(message(request()), "w: URL/w.bin gives a web page, not a file of weights");
  EXPECT_FALSE(fs::exists(folder_ / "cache/w.bin"));
}

TEST_F(DownloadTest, AServerThatRefusesHeadStillGives) {
  serve([&](const HttpRequest& request) {
    return request.method == "HEAD" ? HttpReply{403} : file_reply(request, bytes_);
  });
  EXPECT_EQ(message(request()), "fetched");
  EXPECT_EQ(file_content(folder_ / "cache/w.bin"), bytes_);
}

TEST_F(DownloadTest, NobodyThere) {
  serve([](const HttpRequest&) { return HttpReply{}; });
  const Download what = request();
  const std::string url = server_->url();
  server_.reset();
  try {
    download(what);
    FAIL();
  } catch (const CheckpointError& error) {
    const std::string text = error.what();
    EXPECT_TRUE(text.starts_with("w: cannot be fetched: Failed to connect to 127.0.0.1")) << text;
    EXPECT_TRUE(text.ends_with("; without a network fetch " + url +
                               "/w.bin elsewhere and put it "
                               "at " +
                               what.path + ", or name a file that is there"))
        << text;
  }
}

TEST_F(DownloadTest, AWrongSumIsThrownAway) {
  const std::string sum = sum_of_text(folder_, bytes_);
  serve([&](const HttpRequest& request) {
    HttpReply reply = file_reply(request, bytes_);
    reply.headers["X-Linked-Etag"] = '"' + std::string(64, 'a') + '"';
    reply.headers["X-Linked-Size"] = "200000";
    return reply;
  });
  EXPECT_EQ(message(request()), "w: URL/w.bin gave 200000 bytes with the SHA-256 " + sum +
                                    ", expected " + std::string(64, 'a') +
                                    " (as the server says); it was thrown away");
  EXPECT_EQ(files(), 0u);
  Download pinned = request();
  pinned.sha256 = "00112233";
  EXPECT_EQ(message(pinned), "w: URL/w.bin gave 200000 bytes with the SHA-256 " + sum +
                                 ", expected 00112233 (as the config says); it was thrown away");
  pinned.sha256 = sum.substr(0, 8);  // what the user says counts
  EXPECT_EQ(message(pinned), "fetched");
}

// A limit on the size of files stands for a full disk: both fail in the middle of writing.
TEST_F(DownloadTest, ADiskThatFills) {
  serve([&](const HttpRequest& request) { return file_reply(request, bytes_, "v1"); });
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  struct rlimit small = before;
  small.rlim_cur = 4096;
  auto* handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string text = message(request());
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(text, "w: DIR/cache/w.bin.v1.partial: cannot be written: File too large");
  EXPECT_EQ(message(request()), "fetched");  // from 4096 on
  EXPECT_EQ(server_->requests().back().header("range"), "bytes=4096-");
  EXPECT_EQ(file_content(folder_ / "cache/w.bin"), bytes_);
}

TEST_F(DownloadTest, AFolderThatCannotBe) {
  serve([&](const HttpRequest& request) { return file_reply(request, bytes_); });
  write_file(folder_ / "file", "");
  Download what = request();
  what.path = (fs::path(folder_ / "file") / "w.bin").string();
  EXPECT_EQ(message(what), "w: DIR/file: cannot be created: Not a directory");
  serve([&](const HttpRequest& request) {
    HttpReply reply = file_reply(request, "");
    reply.headers["Content-Length"] = "1000000000000000000";
    return reply;
  });
  const std::string text = message(request());
  EXPECT_TRUE(text.starts_with("w: needs 953674316406.2 MiB in DIR/cache, which has ")) << text;
  EXPECT_TRUE(text.ends_with(" free; free some space there, or set STRATA_CACHE to another folder"))
      << text;
}

TEST_F(DownloadTest, TwoProcessesFetchOnce) {
  serve([&](const HttpRequest& request) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    return file_reply(request, bytes_, "v1");
  });
  const Download what = request();
  std::thread other([&] { download(what); });
  download(what);
  other.join();
  EXPECT_EQ(file_content(what.path), bytes_);
  EXPECT_EQ(files(), 1u);
  const auto seen = server_->seen();
  EXPECT_EQ(std::count(seen.begin(), seen.end(), "GET /w.bin"), 1);
}

// --- names ---

class Pretrained : public DownloadTest {
 protected:
  /// A hub of one repository, as Hugging Face's answers: files lie elsewhere, behind a redirect.
  void serve_hub(std::map<std::string, std::string> files) {
    files_ = std::move(files);
    serve([this](const HttpRequest& request) {
      if (request.path.starts_with("/cdn/"))
        return file_reply(request, files_.at(request.path.substr(5)));
      const std::string lead = "/" + repository_ + "/resolve/" + revision_ + "/";
      if (!request.path.starts_with("/" + repository_ + "/")) {
        return HttpReply{
            401, {{"X-Error-Code", "RepoNotFound"}, {"X-Error-Message", "Repository not found"}}};
      }
      if (!request.path.starts_with(lead)) {
        return HttpReply{
            404, {{"X-Error-Code", "RevisionNotFound"}, {"X-Error-Message", "Invalid rev id: v9"}}};
      }
      const auto found = files_.find(request.path.substr(lead.size()));
      if (found == files_.end()) return HttpReply{404, {{"X-Error-Code", "EntryNotFound"}}};
      return HttpReply{302,
                       {{"Location", "/cdn/" + found->first},
                        {"X-Linked-Size", std::to_string(found->second.size())},
                        {"X-Linked-Etag", '"' + sum_of_text(folder_, found->second) + '"'}}};
    });
    environment_.set("HF_ENDPOINT", server_->url() + "/");
  }
  void SetUp() override {
    DownloadTest::SetUp();
    environment_.set("STRATA_CACHE", folder_ / "cache");
    environment_.set("HF_HUB_CACHE", folder_ / "hub");
    environment_.set("HF_HUB_OFFLINE", "");
    environment_.set("HF_TOKEN", "");
  }
  std::string fetched(const std::string& name, const std::string& sha256 = "") {
    try {
      return replaced(fetch_pretrained(name, sha256), folder_.path(), "DIR");
    } catch (const CheckpointError& error) {
      return replaced(replaced(error.what(), server_->url(), "URL"), folder_.path(), "DIR");
    }
  }
  std::string problem(const std::string& name) {
    const auto found = check_pretrained_name(name);
    return found ? found->what + found->cure : "fine";
  }
  std::string weights(double value) {
    write_tensors(folder_ / "made.safetensors", {{"w", at::full({4}, value)}});
    return file_content(folder_ / "made.safetensors");
  }

  std::string repository_ = "timm/net.a1_in1k", revision_ = "main";
  std::map<std::string, std::string> files_;
};

TEST_F(Pretrained, AModelOfTimm) {
  serve_hub({{"model.safetensors", weights(1)}, {"pytorch_model.bin", "not this"}});
  const std::string path = "DIR/cache/weights/hub/timm/net.a1_in1k/main/model.safetensors";
  EXPECT_EQ(find_pretrained("timm:net.a1_in1k").path, "");
  EXPECT_EQ(find_pretrained("timm:net.a1_in1k").url,
            server_->url() + "/timm/net.a1_in1k/resolve/main/model.safetensors");
  EXPECT_TRUE(server_->seen().empty());
  EXPECT_EQ(fetched("timm:net.a1_in1k"), path);
  const auto requests = server_->seen().size();
  EXPECT_EQ(fetched("timm:net.a1_in1k"), path);
  EXPECT_EQ(fetched("hf:timm/net.a1_in1k"), path);
  environment_.set("HF_HUB_OFFLINE", "1");
  EXPECT_EQ(fetched("timm:net.a1_in1k"), path);
  EXPECT_EQ(server_->seen().size(), requests);
  const TensorFile file = read_tensors(fetch_pretrained("timm:net.a1_in1k"));
  EXPECT_TRUE(at::equal(file.tensors.at(0).second, at::full({4}, 1.0)));
}

TEST_F(Pretrained, ARevisionAFileAndAToken) {
  repository_ = "me/mine";
  revision_ = "refs%2Fpr%2F1";
  serve_hub({{"sub/w.pth", "one"}});
  environment_.set("HF_TOKEN", "secret");
  EXPECT_EQ(fetched("hf:me/mine@refs/pr/1:sub/w.pth"),
            "DIR/cache/weights/hub/me/mine/refs%2Fpr%2F1/sub/w.pth");
  EXPECT_EQ(server_->requests().front().header("authorization"), "Bearer secret");
  EXPECT_EQ(fetched("hf:me/mine@v9:sub/w.pth"),
            "hf:me/mine@v9:sub/w.pth: the server refuses URL/me/mine/resolve/v9/sub/w.pth (HTTP "
            "404): \"Invalid rev id: v9\"; look whether URL/me/mine is there and open to the owner "
            "of HF_TOKEN");
}

TEST_F(Pretrained, WhatIsNotThere) {
  serve_hub({{"readme.md", ""}});
  EXPECT_EQ(fetched("timm:net.a1_in1k"),
            "timm:net.a1_in1k: URL/timm/net.a1_in1k has no model.safetensors, "
            "model.safetensors.index.json, pytorch_model.bin, pytorch_model.bin.index.json at "
            "revision main");
  EXPECT_EQ(
      fetched("timm:nett"),
      "timm:nett: the server refuses URL/timm/nett/resolve/main/model.safetensors (HTTP 401): "
      "\"Repository not found\"; look whether URL/timm/nett is there; if it is private or "
      "gated, accept its terms there and set HF_TOKEN to a token of yours");
  environment_.set("HF_HUB_OFFLINE", "1");
  EXPECT_EQ(fetched("timm:net.a1_in1k"),
            "timm:net.a1_in1k: is not on this machine, and HF_HUB_OFFLINE forbids to fetch it; "
            "fetch URL/timm/net.a1_in1k/resolve/main/model.safetensors elsewhere and put it at "
            "DIR/cache/weights/hub/timm/net.a1_in1k/main/model.safetensors, or name a file that is "
            "there");
}

TEST_F(Pretrained, WhatHuggingFacesToolsKeep) {
  serve_hub({});
  const std::string commit(40, 'c');
  const std::string folder = "hub/models--timm--net.a1_in1k/";
  write_file(folder_ / (folder + "refs/main"), commit + "\n");
  write_file(folder_ / (folder + "snapshots/" + commit + "/pytorch_model.bin"), "here");
  const std::string path = "DIR/" + folder + "snapshots/" + commit + "/pytorch_model.bin";
  EXPECT_EQ(fetched("timm:net.a1_in1k"), path);
  EXPECT_EQ(fetched("hf:timm/net.a1_in1k@" + commit), path);
  EXPECT_TRUE(server_->seen().empty());
  EXPECT_NE(fetched("timm:net.a1_in1k@other"), path);
}

TEST_F(Pretrained, WeightsInSeveralFiles) {
  write_tensors(folder_ / "a.safetensors", {{"x", at::ones({2})}});
  write_tensors(folder_ / "b.safetensors", {{"y", at::zeros({3})}});
  serve_hub({{"model.safetensors.index.json",
              R"({"metadata": {}, "weight_map": {"x": "a.safetensors", "y": "b.safetensors"}})"},
             {"a.safetensors", file_content(folder_ / "a.safetensors")}});
  EXPECT_EQ(fetched("timm:net.a1_in1k"),
            "timm:net.a1_in1k: the server has no b.safetensors, which "
            "URL/timm/net.a1_in1k/resolve/main/model.safetensors.index.json speaks of");
  EXPECT_EQ(find_pretrained("timm:net.a1_in1k").path, "");
  files_["b.safetensors"] = file_content(folder_ / "b.safetensors");
  const std::string path = fetch_pretrained("timm:net.a1_in1k");
  EXPECT_EQ(fs::path(path).filename(), "model.safetensors.index.json");
  EXPECT_EQ(find_pretrained("timm:net.a1_in1k").path, path);
  const TensorFile file = read_tensors(path);
  EXPECT_TRUE(at::equal(get(file.tensors, "x"), at::ones({2})));
  EXPECT_TRUE(at::equal(get(file.tensors, "y"), at::zeros({3})));
}

TEST_F(Pretrained, AnAddressAndTheSumInItsName) {
  serve([](const HttpRequest& request) { return file_reply(request, "abc"); });
  const std::string host = replaced(server_->url().substr(7), ":", "%3A");
  EXPECT_EQ(fetched(server_->url() + "/models/net-ba7816bf.pth"),
            "DIR/cache/weights/http/" + host + "/models/net-ba7816bf.pth");
  EXPECT_EQ(
      fetched(server_->url() + "/models/net-ba7816bd.pth"),
      "URL/models/net-ba7816bd.pth: URL/models/net-ba7816bd.pth gave 3 bytes with the SHA-256 "
      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad, expected ba7816bd (as "
      "the file's name says); it was thrown away");
  EXPECT_EQ(fetched(server_->url() + "/net-20200604.pth?download=true"),  // a date
            "DIR/cache/weights/http/" + host + "/net-20200604.pth%3Fdownload%3Dtrue");
  EXPECT_EQ(fetched(server_->url() + "/net-deadbeef.pth", "ba7816bf"),  // another sort of number
            "DIR/cache/weights/http/" + host + "/net-deadbeef.pth");
}

TEST_F(Pretrained, NamesThatAreNone) {
  for (const char* name :
       {"timm:resnet50.a1_in1k", "timm:resnet50.a1_in1k@v1", "hf:org/model", "hf:org/model:a/b.bin",
        "hf:org/model@refs/pr/1:w.safetensors", "https://host/a.pth", "http://host:80/a/b.pth?x=/y",
        "weights.pth", "../w.pth", "/a:b/c", "a:b"}) {
    EXPECT_EQ(problem(name), "fine") << name;
  }
  for (const char* name : {"timm:", "timm:timm/resnet50", "timm:../x", "timm:a@", "timm:a@b:",
                           "timm:a b", "timm:a@../b", "timm:a:/etc/passwd", "timm:a:../b"}) {
    EXPECT_EQ(problem(name), "is no name of weights; expected \"timm:MODEL\"") << name;
  }
  for (const char* name : {"hf:resnet50", "hf:a/b/c", "hf:/b", "hf:a/", "hf:../b", "hf:a/..",
                           "hf:a/b:c/../../d", "hf:a/b:.hidden"}) {
    EXPECT_EQ(problem(name),
              "is no name of weights; expected \"hf:ORG/MODEL\" or \"hf:ORG/MODEL:FILE\"")
        << name;
  }
  for (const char* name :
       {"https://", "https://host", "https://host/", "https://host/../a.pth", "https://host//a.pth",
        "https://me:pass@host/a.pth", "http://host/a b.pth", "http://host/a.pth#x"}) {
    EXPECT_EQ(problem(name), "is no address of a file") << name;
  }
  EXPECT_EQ(problem("https://host/" + std::string(300, 'a')), "is no address of a file");
  EXPECT_EQ(problem("tim:resnet50"),
            "is no file, and \"tim:\" is no place of weights; did you mean \"timm\"?");
  EXPECT_EQ(problem("modelzoo:resnet50"),
            "is no file, and \"modelzoo:\" is no place of weights; "
            "known are timm:, hf:, https: and http:");
}

}  // namespace
}  // namespace strata::io
