// A web server on this machine's loopback, for as long as the test: one request after the other.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace strata::tests {

struct HttpRequest {
  std::string method, path;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string header(const std::string& name) const;
};

struct HttpReply {
  int status = 200;
  std::map<std::string, std::string> headers{};
  std::string body{};
  std::optional<std::size_t> cut{};  // the connection breaks off after so many bytes of the body
};

class HttpServer {
 public:
  using Handler = std::function<HttpReply(const HttpRequest&)>;
  explicit HttpServer(Handler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  std::string url() const;  // "http://127.0.0.1:PORT"
  /// "METHOD PATH" of every request, in order.
  std::vector<std::string> seen() const;
  std::vector<HttpRequest> requests() const;

 private:
  void serve();
  void answer(int connection);

  Handler handler_;
  int socket_ = -1;
  std::uint16_t port_ = 0;
  mutable std::mutex mutex_;
  std::vector<HttpRequest> requests_;
  std::thread thread_;
};

/// The reply of a server that knows ranges: all of `bytes`, or what the request asks for.
HttpReply file_reply(const HttpRequest& request, const std::string& bytes,
                     const std::string& etag = "");

}  // namespace strata::tests
