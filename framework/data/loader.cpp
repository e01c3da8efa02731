#include "framework/data/loader.hpp"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "framework/data/collate.hpp"

namespace strata {

namespace {

/// A batch in the making.
struct Job {
  Job(std::size_t samples, bool pinned) : collation(samples, pinned) {}

  std::int64_t first_draw = 0;
  std::vector<std::int64_t> indices;  // the dataset's samples, in the order of draws
  std::size_t taken = 0, done = 0;    // samples that a worker has begun, has finished
  bool complete = false;
  Batch batch;
  std::exception_ptr error;
  data::Collation collation;
};

}  // namespace

class Loader::Implementation {
 public:
  Implementation(std::shared_ptr<const Dataset> dataset,
                 std::vector<std::shared_ptr<const Transform>> transforms,
                 std::shared_ptr<Sampler> sampler, const LoaderOptions& options)
      : dataset_(std::move(dataset)),
        transforms_(std::move(transforms)),
        sampler_(std::move(sampler)),
        options_(options) {
    for (std::int64_t i = 0; i < options_.workers; ++i) {
      threads_.emplace_back([this] {
        omp_set_num_threads(1);  // an ATen operator here must not start a team of its own
        work();
      });
    }
  }

  ~Implementation() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    work_there_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  std::optional<Batch> next() {
    const auto start = std::chrono::steady_clock::now();
    const std::shared_ptr<Job> job = options_.workers > 0 ? take_made() : make();
    waited_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (!job) return std::nullopt;
    if (job->error) std::rethrow_exception(job->error);
    return std::move(job->batch);
  }

  bool ready() const {
    const std::lock_guard lock(mutex_);
    return !jobs_.empty() && jobs_.front()->complete;
  }

  std::int64_t position() const {
    const std::lock_guard lock(mutex_);
    return position_;
  }

  void seek(std::int64_t draw) {
    const std::lock_guard lock(mutex_);
    jobs_.clear();  // workers still on one of them finish it for nobody
    position_ = next_draw_ = draw;
    work_there_.notify_all();
  }

  double waited() const { return waited_; }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    while (true) {
      std::shared_ptr<Job> job;
      work_there_.wait(lock, [&] { return stop_ || (job = job_to_do()) != nullptr; });
      if (stop_) return;
      make_next_sample(*job, lock);
    }
  }

  void make_next_sample(Job& job, std::unique_lock<std::mutex>& lock) {
    const std::size_t place = job.taken++;
    lock.unlock();
    make_sample(job, place);
    lock.lock();
    if (++job.done < job.indices.size()) return;
    lock.unlock();
    finish(job);
    lock.lock();
    job.complete = true;
    batch_there_.notify_all();
  }

  // The newest job that has samples left, or a new one while less than `prefetch` wait.
  std::shared_ptr<Job> job_to_do() {
    if (!jobs_.empty() && jobs_.back()->taken < jobs_.back()->indices.size()) return jobs_.back();
    if (static_cast<std::int64_t>(jobs_.size()) >= options_.prefetch) return nullptr;
    std::shared_ptr<Job> job = new_job();
    if (job) jobs_.push_back(job);
    return job;
  }

  std::int64_t next_size() const {
    const std::optional<std::int64_t> draws = sampler_->draws();
    if (!draws) return options_.batch_size;
    const std::int64_t left = std::max<std::int64_t>(0, *draws - next_draw_);
    if (left < options_.batch_size && options_.drop_last) return 0;
    return std::min(left, options_.batch_size);
  }

  std::shared_ptr<Job> new_job() {
    const std::int64_t size = next_size();
    if (size == 0) return nullptr;
    auto job = std::make_shared<Job>(static_cast<std::size_t>(size), options_.pinned);
    job->first_draw = next_draw_;
    for (std::int64_t i = 0; i < size; ++i) job->indices.push_back(sampler_->index(next_draw_ + i));
    next_draw_ += size;
    return job;
  }

  std::shared_ptr<Job> take_made() {
    std::unique_lock lock(mutex_);
    if (jobs_.empty() && !job_to_do()) return nullptr;
    std::shared_ptr<Job> job = jobs_.front();
    // Who must wait takes part: but only in this batch, so as not to wait for another.
    while (!job->complete) {
      if (job->taken < job->indices.size()) {
        make_next_sample(*job, lock);
      } else {
        batch_there_.wait(lock);
      }
    }
    jobs_.pop_front();
    position_ = job->first_draw + static_cast<std::int64_t>(job->indices.size());
    lock.unlock();
    work_there_.notify_all();
    return job;
  }

  std::shared_ptr<Job> make() {
    std::shared_ptr<Job> job = new_job();
    if (!job) return nullptr;
    for (std::size_t i = 0; i < job->indices.size(); ++i) make_sample(*job, i);
    finish(*job);
    position_ = next_draw_;
    return job;
  }

  void make_sample(Job& job, std::size_t place) const {
    try {
      Philox random(options_.seed, static_cast<std::uint64_t>(job.first_draw) + place);
      job.collation.put(place, draw_sample(*dataset_, job.indices[place], transforms_,
                                           transforms_.size(), random));
    } catch (...) {
      job.collation.fail(place, std::current_exception());
    }
  }

  static void finish(Job& job) {
    try {
      job.batch = job.collation.finish();
    } catch (...) {
      job.error = std::current_exception();
    }
  }

  const std::shared_ptr<const Dataset> dataset_;
  const std::vector<std::shared_ptr<const Transform>> transforms_;
  const std::shared_ptr<Sampler> sampler_;
  const LoaderOptions options_;

  mutable std::mutex mutex_;  // guards what follows, and `taken`, `done`, `complete` of jobs
  std::condition_variable work_there_, batch_there_;
  std::deque<std::shared_ptr<Job>> jobs_;  // in the order of draws
  std::int64_t next_draw_ = 0;             // first draw of the next job
  std::int64_t position_ = 0;              // first draw that next() has not given
  bool stop_ = false;
  double waited_ = 0;
  std::vector<std::thread> threads_;
};

Loader::Loader(std::shared_ptr<const Dataset> dataset,
               std::vector<std::shared_ptr<const Transform>> transforms,
               std::shared_ptr<Sampler> sampler, const LoaderOptions& options)
    : implementation_(std::make_unique<Implementation>(std::move(dataset), std::move(transforms),
                                                       std::move(sampler), options)) {}

Loader::~Loader() = default;

std::optional<Batch> Loader::next() { return implementation_->next(); }
bool Loader::ready() const { return implementation_->ready(); }
std::int64_t Loader::position() const { return implementation_->position(); }
void Loader::seek(std::int64_t draw) { implementation_->seek(draw); }
double Loader::seconds_waited() const { return implementation_->waited(); }

}  // namespace strata
