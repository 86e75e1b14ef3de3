// Java: pools, null pointers and deep recursion (both found by SIGSEGV), collections, sockets, a child.
import java.io.IOException;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.LongStream;

class Threads {
    static class Node {
        int value;
    }

    static int deeper(int depth) {
        return deeper(depth + 1) + 1;
    }

    static long allocate(int factor) {
        long sum = 0;
        List<byte[]> kept = new ArrayList<>();
        for (int i = 0; i < 200_000; i++) {
            byte[] bytes = new byte[64];
            bytes[0] = (byte) i;
            sum += bytes[0] * factor;
            if (i % 1000 == 0) {
                kept.add(bytes);
            }
        }
        return sum + kept.size();
    }

    static void pool() throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(8);
        List<Future<Long>> results = new ArrayList<>();
        for (int i = 0; i < 16; i++) {
            int factor = i;
            results.add(pool.submit(() -> allocate(factor)));
        }
        long total = 0;
        for (Future<Long> result : results) {
            total += result.get();
        }
        pool.shutdown();
        System.out.println("pool " + total + " " + pool.awaitTermination(60, TimeUnit.SECONDS));
    }

    static void faults() throws InterruptedException {
        int caught = 0;
        for (int i = 0; i < 20_000; i++) {
            try {
                Node node = i % 2 == 0 ? null : new Node();
                node.value = i;
            } catch (NullPointerException expected) {
                caught++;
            }
        }
        System.out.println("null pointers " + caught);
        Thread deep = new Thread(() -> {
            try {
                deeper(0);
            } catch (StackOverflowError expected) {
                System.out.println("stack overflow");
            }
        });
        deep.start();
        deep.join();
    }

    static void handOver() throws InterruptedException {
        SynchronousQueue<Integer> queue = new SynchronousQueue<>();
        AtomicLong sum = new AtomicLong();
        Thread taker = new Thread(() -> {
            try {
                for (int i = 0; i < 2000; i++) {
                    sum.addAndGet(queue.take());
                }
            } catch (InterruptedException unexpected) {
                System.out.println(unexpected);
            }
        });
        taker.start();
        for (int i = 0; i < 2000; i++) {
            queue.put(i);
        }
        taker.join();
        System.out.println("handed over " + sum);
    }

    static void many() throws InterruptedException {
        CountDownLatch all = new CountDownLatch(200);
        AtomicInteger ended = new AtomicInteger();
        Thread[] threads = new Thread[200];
        for (int i = 0; i < threads.length; i++) {
            threads[i] = new Thread(() -> {
                try {
                    all.countDown();
                    all.await();
                    Thread.sleep(5);
                } catch (InterruptedException unexpected) {
                    System.out.println(unexpected);
                }
                synchronized (Threads.class) {
                    ended.incrementAndGet();
                }
            });
            threads[i].start();
        }
        for (Thread thread : threads) {
            thread.join();
        }
        System.out.println("threads " + ended);
        Thread sleeping = new Thread(() -> {
            try {
                Thread.sleep(1_000_000);
            } catch (InterruptedException expected) {
                System.out.println("interrupted");
            }
        });
        sleeping.start();
        sleeping.interrupt();
        sleeping.join();
    }

    static void answer(Socket socket) {
        try (socket) {
            socket.getOutputStream().write(socket.getInputStream().read() + 1);
        } catch (IOException unexpected) {
            System.out.println(unexpected);
        }
    }

    static void sockets() throws Exception {
        ServerSocket listener = new ServerSocket(0);
        Thread serving = new Thread(() -> {
            try {
                for (int i = 0; i < 20; i++) {
                    Socket socket = listener.accept();
                    new Thread(() -> answer(socket)).start();
                }
            } catch (IOException unexpected) {
                System.out.println(unexpected);
            }
        });
        serving.start();
        int sum = 0;
        for (int i = 0; i < 20; i++) {
            try (Socket socket = new Socket("127.0.0.1", listener.getLocalPort())) {
                socket.getOutputStream().write(i);
                sum += socket.getInputStream().read();
            }
        }
        serving.join();
        System.out.println("answers " + sum);
    }

    public static void main(String[] arguments) throws Exception {
        pool();
        faults();
        handOver();
        many();
        System.out.println(
            "parallel " + LongStream.range(0, 1_000_000).parallel().filter(i -> i % 3 == 0).sum());
        for (int i = 0; i < 3; i++) {
            System.gc();
        }
        sockets();
        Process child = new ProcessBuilder("sh", "-c", "echo child; exit 3").start();
        System.out.print(new String(child.getInputStream().readAllBytes()));
        System.out.println("child ended with " + child.waitFor());
        Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("hook")));
        if (arguments.length > 0) {
            System.out.println("ready");
            Thread.sleep(1_000_000);
        }
    }
}
