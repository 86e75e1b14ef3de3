# sqlite3 from many threads: one database file, a connection each, locks between them, and backup.
import os
import sqlite3
import tempfile
import threading

THREADS, ROUNDS = 8, 25

with tempfile.TemporaryDirectory() as directory:
    path = os.path.join(directory, "database")
    for journal in ("delete", "wal"):
        with sqlite3.connect(path, timeout=60) as setup:
            print(setup.execute(f"PRAGMA journal_mode={journal}").fetchone())
            setup.execute("DROP TABLE IF EXISTS counts")
            setup.execute("CREATE TABLE counts (who INTEGER, n INTEGER)")
            setup.execute("INSERT INTO counts VALUES (-1, 0)")

        def work(who):
            connection = sqlite3.connect(path, timeout=60, isolation_level=None)
            for n in range(ROUNDS):
                connection.execute("BEGIN IMMEDIATE")
                (total,) = connection.execute("SELECT n FROM counts WHERE who = -1").fetchone()
                connection.execute("INSERT INTO counts VALUES (?, ?)", (who, n))
                connection.execute("UPDATE counts SET n = ? WHERE who = -1", (total + 1,))
                connection.execute("COMMIT")
                connection.execute("SELECT count(*) FROM counts").fetchone()
            connection.close()

        threads = [threading.Thread(target=work, args=(who,)) for who in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with sqlite3.connect(path) as check:
            print(check.execute("SELECT n FROM counts WHERE who = -1").fetchone())
            print(check.execute("SELECT who, count(*), sum(n) FROM counts GROUP BY who").fetchall())
            print(check.execute("PRAGMA integrity_check").fetchone())
        check.close()
        setup.close()

    shared = sqlite3.connect(":memory:", check_same_thread=False)
    shared.execute("CREATE TABLE shared (who INTEGER)")
    lock = threading.Lock()

    def insert(who):
        for _ in range(ROUNDS):
            with lock:
                shared.execute("INSERT INTO shared VALUES (?)", (who,))

    threads = [threading.Thread(target=insert, args=(who,)) for who in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(shared.execute("SELECT who, count(*) FROM shared GROUP BY who").fetchall())

    def interrupted():
        try:
            shared.execute(
                "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
            ).fetchone()
        except sqlite3.OperationalError as error:
            print(error)

    endless = threading.Thread(target=interrupted)
    endless.start()
    while endless.is_alive():
        shared.interrupt()
        endless.join(0.02)
    print(sorted(os.listdir(directory)))
