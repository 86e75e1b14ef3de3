# Ruby's threads: a queue, a mutex with a condition, time-outs, kill, sockets, processes, and a ractor.
require "socket"
require "timeout"

queue = SizedQueue.new(4)
sum = 0
lock = Mutex.new
workers = 6.times.map do
  Thread.new do
    while (item = queue.pop) != :end
      lock.synchronize { sum += item }
    end
  end
end
500.times { |i| queue << i }
6.times { queue << :end }
workers.each(&:join)
puts "sum #{sum}"

condition = ConditionVariable.new
ready = false
waiting = Thread.new do
  lock.synchronize { condition.wait(lock) until ready }
  "woken"
end
lock.synchronize do
  ready = true
  condition.broadcast
end
puts waiting.value

begin
  Timeout.timeout(0.05) { sleep }
rescue Timeout::Error
  puts "timed out"
end

sleeping = Thread.new { sleep }
sleeping.kill
puts "killed #{sleeping.join(60) == sleeping}"

server = TCPServer.new("127.0.0.1", 0)
serving = Thread.new do
  20.times.map { Thread.new(server.accept) { |s| s.write(s.gets.upcase); s.close } }.each(&:join)
end
answers = 20.times.map do |i|
  Thread.new do
    TCPSocket.open("127.0.0.1", server.addr[1]) { |s| s.puts("hello #{i}"); s.read }
  end
end
puts answers.map(&:value).sort.first(3)
serving.join

puts 5.times.map { |i| Thread.new { `echo child #{i}`.chomp } }.map(&:value).join(", ")
child = fork { Thread.new { exit!(5) }.join }
Process.wait(child)
puts "child ended with #{$?.exitstatus}"

$VERBOSE = nil
Warning[:experimental] = false
puts 3.times.map { |i| Ractor.new(i) { |n| (1..1000).sum * n } }.map(&:take).sum

caught = Thread::Queue.new
trap("USR1") { caught << :usr1 }
Process.kill("USR1", Process.pid)
puts caught.pop
busy = 3.times.map { Thread.new { (1..300_000).sum { |i| i & 7 } } }
puts busy.map(&:value).sum
