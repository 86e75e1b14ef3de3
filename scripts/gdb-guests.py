"""gdb commands for a process, or a core of one, whose threads are guests.

    source scripts/gdb-guests.py
    info guests              every guest: thread id, name, what it does, where it is
    guest TID [COMMAND]      COMMAND (default: bt) as if TID were the present thread
    guest apply all [COMMAND]

A guest that does not run is one that lies on its own stack; gdb's own `bt` shows the
one that does. Frame 0 of a parked guest is where the hub took the processor from it.
"""

import struct
from contextlib import contextmanager

import gdb
from gdb.unwinder import Unwinder

VERSION = 2
STATES = ["free", "ready", "running", "parked", "dead"]
# What runtime/src/arch/x86_64/context.rs leaves on the stack of a context that waits.
SAVED = ["r15", "r14", "r13", "r12", "rbx", "rbp", "rip"]
FIRST = 8


def read(address, form):
    data = gdb.selected_inferior().read_memory(address, struct.calcsize(form))
    return struct.unpack(form, bytes(data))


@contextmanager
def language(name):
    """Expressions are in a language, whatever that of the selected frame is."""
    before = gdb.parameter("language")
    gdb.execute("set language " + name, to_string=True)
    try:
        yield
    finally:
        gdb.execute("set language " + before, to_string=True)


class Guest:
    """A record of the runtime's."""

    def __init__(self, places, at):
        def word(offset, form):
            return read(at + places[offset], form)[0]

        self.at = at
        self.next = word("guest_next", "<Q")
        self.tid = word("guest_tid", "<i")
        self.state = word("guest_state", "<B")
        name = word("guest_name", "16s")
        self.name = name.split(b"\0")[0].decode("utf-8", "replace")
        self.rsp = word("guest_rsp", "<Q")

    def state_name(self):
        return STATES[self.state] if self.state < len(STATES) else "?"


def places():
    symbol = gdb.lookup_global_symbol("GEVENT_SHIM_PLACES")
    if symbol is not None:
        at = int(symbol.value().address)
    else:
        try:
            with language("c"):
                at = int(gdb.parse_and_eval("(unsigned long)&GEVENT_SHIM_PLACES"))
        except gdb.error:
            raise gdb.GdbError("gevent-shim is not in this process")
    names = [
        "version", "hub_all", "processor_current", "processor_size", "processor_max",
        "guest_next", "guest_tid", "guest_state", "guest_name", "guest_rsp", "guest_fs",
        "guest_frame",
    ]
    values = read(at, "<12IQQ")
    found = dict(zip(names, values))
    if found["version"] != VERSION:
        raise gdb.GdbError("this script does not know the library's version %d" % found["version"])
    found["hub"], found["processors"] = values[12:]
    return found


def guests():
    """Every guest, oldest first, and the records of those on a CPU."""
    known = places()
    at = read(known["hub"] + known["hub_all"], "<Q")[0]
    first, size = known["processors"] + known["processor_current"], known["processor_size"]
    current = {read(first + size * i, "<Q")[0] for i in range(known["processor_max"])}
    found = []
    while at:
        guest = Guest(known, at)
        found.append(guest)
        at = guest.next
    found.reverse()
    return found, current


class GuestUnwinder(Unwinder):
    """Puts a guest's registers in the place of the selected thread's."""

    def __init__(self):
        super().__init__("gevent-shim guest")
        self.guest = None
        self.anchor = None

    def __call__(self, pending):
        if self.guest is None:
            return None
        sp = int(pending.read_register("rsp")) & (2**64 - 1)
        pc = int(pending.read_register("rip")) & (2**64 - 1)
        if (sp, pc) != self.anchor:
            return None
        values = read(self.guest.rsp + FIRST, "<%dQ" % len(SAVED))
        word = gdb.lookup_type("unsigned long")
        frame = pending.create_unwind_info(FrameId(self.guest.rsp, pc))
        for name, value in zip(SAVED, values):
            frame.add_saved_register(name, gdb.Value(value).cast(word))
        after = self.guest.rsp + FIRST + 8 * len(SAVED)
        frame.add_saved_register("rsp", gdb.Value(after).cast(word))
        return frame


class FrameId:
    """What gdb tells frames apart by."""

    def __init__(self, sp, pc):
        self.sp = gdb.Value(sp).cast(gdb.lookup_type("unsigned long"))
        self.pc = gdb.Value(pc).cast(gdb.lookup_type("unsigned long"))


UNWINDER = GuestUnwinder()
gdb.unwinder.register_unwinder(None, UNWINDER, replace=True)


@contextmanager
def frames_of(guest):
    """The guest's innermost frame, above the thread's newest one, which may be `main` and
    have functions inlined in it; and how many frames those are."""
    frame = gdb.newest_frame()
    sp = int(frame.read_register("rsp")) & (2**64 - 1)
    past_main = gdb.parameter("backtrace past-main")
    gdb.execute("set backtrace past-main on")
    UNWINDER.anchor = (sp, frame.pc())
    UNWINDER.guest = guest
    gdb.invalidate_cached_frames()
    try:
        frame, skipped = gdb.newest_frame(), 1
        while frame.type() == gdb.INLINE_FRAME:
            frame, skipped = frame.older(), skipped + 1
        yield frame.older(), skipped
    finally:
        UNWINDER.guest = None
        gdb.execute("set backtrace past-main %s" % ("on" if past_main else "off"))
        gdb.invalidate_cached_frames()


def execute_in(guest, command):
    with frames_of(guest) as (frame, skipped):
        frame.select()
        if command.split()[0] in ("bt", "backtrace", "where"):
            backtrace(command, skipped)
        else:
            gdb.execute(command)


def backtrace(command, skipped):
    """gdb's backtrace starts with the thread's own frames: they are left out."""
    words = [str(int(w) + skipped) if w.isdigit() else w for w in command.split()]
    for line in gdb.execute(" ".join(words), to_string=True).splitlines():
        number = line.split(" ")[0]
        if number.startswith("#") and number[1:].isdigit():
            if int(number[1:]) < skipped:
                continue
            text = "#%d" % (int(number[1:]) - skipped)
            line = text.ljust(len(number)) + line[len(number):]
        gdb.write(line + "\n")


def is_ours(frame):
    name = frame.name() or ""
    library = gdb.solib_name(frame.pc()) or ""
    return "gevent_shim" in library or "gevent_runtime" in name


def place(guest):
    """The innermost function of the program's own or libc's."""
    try:
        with frames_of(guest) as (frame, _):
            while frame is not None and is_ours(frame):
                frame = frame.older()
            return "" if frame is None else "%s ()" % (frame.name() or "??")
    except gdb.error as error:
        return "(%s)" % error


class InfoGuests(gdb.Command):
    """Lists the guests: thread id, name, what each does, where it is."""

    def __init__(self):
        super().__init__("info guests", gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        all_guests, current = guests()
        if not all_guests:
            gdb.write("No guests.\n")
        for guest in all_guests:
            here = guest.at in current
            text = "" if here else place(guest)
            mark = "*" if here else " "
            gdb.write("%s %-9d %-16s %-8s %s\n" % (mark, guest.tid, guest.name, guest.state_name(), text))


class GuestCommand(gdb.Command):
    """guest TID [COMMAND] or guest apply all [COMMAND]: a command (bt) in a guest's frames."""

    def __init__(self):
        super().__init__("guest", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        words = argument.split()
        all_guests, current = guests()
        if words[:2] == ["apply", "all"]:
            chosen, command = all_guests, " ".join(words[2:])
        elif words and words[0].isdigit():
            chosen = [guest for guest in all_guests if guest.tid == int(words[0])]
            command = " ".join(words[1:])
            if not chosen:
                raise gdb.GdbError("no guest has the thread id %s" % words[0])
        else:
            raise gdb.GdbError("guest TID [COMMAND], or guest apply all [COMMAND]")
        for guest in chosen:
            if len(chosen) > 1:
                gdb.write('\nGuest %d "%s" (%s):\n' % (guest.tid, guest.name, guest.state_name()))
            if guest.at in current:
                gdb.execute(command or "bt")
            else:
                execute_in(guest, command or "bt")


InfoGuests()
GuestCommand()
