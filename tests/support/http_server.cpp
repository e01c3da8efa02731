#include "tests/support/http_server.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cctype>
#include <stdexcept>

namespace strata::tests {

std::string HttpRequest::header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

HttpServer::HttpServer(Handler handler) : handler_(std::move(handler)) {
  socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (socket_ < 0 || ::bind(socket_, generic, size) != 0 || ::listen(socket_, 8) != 0 ||
      ::getsockname(socket_, generic, &size) != 0) {
    throw std::runtime_error("no server on the loopback");
  }
  port_ = ::ntohs(address.sin_port);
  thread_ = std::thread([this] { serve(); });
}

HttpServer::~HttpServer() {
  ::shutdown(socket_, SHUT_RDWR);  // ends accept
  thread_.join();
  ::close(socket_);
}

std::string HttpServer::url() const { return "http://127.0.0.1:" + std::to_string(port_); }

std::vector<HttpRequest> HttpServer::requests() const {
  const std::scoped_lock lock(mutex_);
  return requests_;
}

std::vector<std::string> HttpServer::seen() const {
  std::vector<std::string> lines;
  for (const HttpRequest& one : requests()) lines.push_back(one.method + " " + one.path);
  return lines;
}

void HttpServer::serve() {
  for (;;) {
    const int connection = ::accept4(socket_, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0) return;
    answer(connection);
    ::close(connection);
  }
}

void HttpServer::answer(int connection) {
  std::string head;
  char block[4096];
  while (head.find("\r\n\r\n") == std::string::npos) {
    const ssize_t got = ::recv(connection, block, sizeof(block), 0);
    if (got <= 0) return;
    head.append(block, static_cast<std::size_t>(got));
  }
  HttpRequest request;
  std::size_t at = head.find("\r\n");
  const std::string first = head.substr(0, at);
  request.method = first.substr(0, first.find(' '));
  request.path = first.substr(request.method.size() + 1);
  request.path.resize(request.path.find(' '));
  for (at += 2; head.compare(at, 2, "\r\n") != 0;) {
    const std::size_t end = head.find("\r\n", at), colon = head.find(':', at);
    std::string name = head.substr(at, colon - at);
    for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    request.headers[name] = head.substr(colon + 2, end - colon - 2);
    at = end + 2;
  }
  {
    const std::scoped_lock lock(mutex_);
    requests_.push_back(request);
  }
  const HttpReply reply = handler_(request);
  std::string out = "HTTP/1.1 " + std::to_string(reply.status) + " .\r\nConnection: close\r\n";
  if (!reply.headers.contains("Content-Length")) {
    out += "Content-Length: " + std::to_string(reply.body.size()) + "\r\n";
  }
  for (const auto& [name, value] : reply.headers) out += name + ": " + value + "\r\n";
  out += "\r\n";
  if (request.method != "HEAD") out += reply.body.substr(0, reply.cut.value_or(reply.body.size()));
  for (std::size_t sent = 0; sent < out.size();) {
    const ssize_t put = ::send(connection, out.data() + sent, out.size() - sent, MSG_NOSIGNAL);
    if (put <= 0) return;
    sent += static_cast<std::size_t>(put);
  }
}

HttpReply file_reply(const HttpRequest& request, const std::string& bytes,
                     const std::string& etag) {
  HttpReply reply;
  if (!etag.empty()) reply.headers["ETag"] = "\"" + etag + "\"";
  const std::string range = request.header("range"), same = request.header("if-range");
  if (range.empty() || (!same.empty() && same != '"' + etag + '"')) {
    reply.body = bytes;
    return reply;
  }
  const std::size_t from = std::stoul(range.substr(std::string("bytes=").size()));
  if (from >= bytes.size()) {
    reply.status = 416;
    return reply;
  }
  reply.status = 206;
  reply.body = bytes.substr(from);
  reply.headers["Content-Range"] = "bytes " + std::to_string(from) + "-" +
                                   std::to_string(bytes.size() - 1) + "/" +
                                   std::to_string(bytes.size());
  return reply;
}

}  // namespace strata::tests
