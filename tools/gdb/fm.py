# SPDX-License-Identifier: Apache-2.0
"""fm.py - fibers in gdb, in a live process and in a core file

    (gdb) source tools/gdb/fm.py
    (gdb) info fibers                 all that live: id, state, what they wait for, name, key, where
    (gdb) fiber 16777217 bt           the calls of one, by its id, its name or its key
    (gdb) fiber 16777217 COMMAND...   any command, in the innermost of its frames

It needs the debug information of the library, and reads memory alone: nothing in the process runs or
changes. A fiber that does not run has left its registers on its stack. They are shown by an unwinder that
takes them for the caller of the frame in which the current thread has stopped; so frames have their
variables as in any other backtrace.
"""
import struct

import gdb
import gdb.unwinder

ID_SLOT_BITS = 24
REFERENCES = (1 << ID_SLOT_BITS) - 1
KIND_TASK = 1
TASK_SPAWNED = 1
KEYED = 2                # of fiber.flags: owner.words[0] is the entry of a map
KEY_LENGTH = (1 << 13) - 1
KEY_INLINE = 56          # longer keys stand in a blob
KEY_SHOWN = 64           # bytes
LIVES = ['runnable', 'parking', 'parking', 'parked', 'done']

# What Boost.Context's jump leaves on a stack: where each register stands, and the size of it all.
SAVED = {
    'i386:x86-64': ({'r12': 0x08, 'r13': 0x10, 'r14': 0x18, 'r15': 0x20, 'rbx': 0x28, 'rbp': 0x30,
                     'rip': 0x38}, 0x40, 'rsp', 'rbp'),
    'aarch64': (dict({f'x{19 + i}': 0x40 + 8 * i for i in range(11)}, pc=0xa0), 0xb0, 'sp', 'x29'),
}


def layout():
    name = gdb.selected_inferior().architecture().name()
    if name not in SAVED:
        raise gdb.GdbError(f'fibers are not known on {name}')
    return SAVED[name]


def read(address, size):
    return bytes(gdb.selected_inferior().read_memory(address, size))


def read_word(address):
    return struct.unpack('<Q', read(address, 8))[0]


def read_text(address, most=256):
    text = b''
    while address and len(text) < most:
        part = read(address + len(text), 1)
        if part == b'\0':
            break
        text += part
    return text.decode('latin-1')


def offset_of(kind, path):
    """Where a member stands in a struct, bytes; and its size."""
    kind, offset = gdb.lookup_type(kind), 0
    for name in path.split('.'):
        kind, at = member(kind, name)
        offset += at
    return offset, kind.sizeof


def member(kind, name):
    for field in kind.strip_typedefs().fields():
        if field.name == name:
            return field.type.strip_typedefs(), field.bitpos // 8
        if field.name is None or field.name == '':
            try:
                inner, at = member(field.type, name)
                return inner, field.bitpos // 8 + at
            except KeyError:
                pass
    raise KeyError(name)


class Fiber:
    """One descriptor, from a copy of its bytes."""
    FIELDS = {'refs': 'refs', 'state': 'state', 'kind': 'kind', 'slot': 'slot', 'runtime': 'runtime',
              'waits_for': 'waits_for', 'stack': 'task.stack', 'fctx': 'task.ctx.fctx',
              'task_flags': 'task.flags', 'extra': 'extra', 'flags': 'flags',
              'owner': 'owner.words'}
    offsets = None

    def __init__(self, address, image):
        self.address = address
        for name, (offset, size) in Fiber.offsets.items():
            setattr(self, name, int.from_bytes(image[offset:offset + size], 'little'))
        self.id = self.refs >> ID_SLOT_BITS << ID_SLOT_BITS | self.slot
        self.worker = None

    @staticmethod
    def prepare():
        Fiber.offsets = {name: offset_of('struct fm_fiber', path)
                         for name, path in Fiber.FIELDS.items()}

    def name(self):
        if not self.extra:
            return ''
        return read_text(self.extra + offset_of('struct fiber_extra', 'name')[0], 64)

    def key(self):
        """The key that it was run under, as dumps show it; '' if there is none."""
        entry = self.owner & (1 << 64) - 1
        if not self.flags & KEYED or not entry:
            return ''
        length = read_word(entry + offset_of('struct entry', 'head')[0]) & KEY_LENGTH
        at = entry + offset_of('struct entry', 'word')[0]
        if length > KEY_INLINE:
            blob = read_word(entry + offset_of('struct entry', 'blob')[0])
            at = blob + offset_of('struct key_blob', 'word')[0]
        whole = length // 8 * 8
        key = read(at, max(whole, 8))[:length]
        # the last word is that of the last eight bytes
        if length > whole > 0:
            key += read(at + whole, 8)[whole - length:]
        text = ''.join(chr(c) if 32 <= c < 127 and c not in b'"\\' else f'\\x{c:02x}'
                       for c in key[:KEY_SHOWN])
        return text + '...' if length > KEY_SHOWN else text

    def life(self):
        if self.worker:
            return 'running'
        life = LIVES[self.state & 7]
        return 'new' if life == 'runnable' and self.task_flags & TASK_SPAWNED else life

    def has_saved(self):
        return not self.worker and self.stack and self.fctx and self.state & 7 in (0, 1, 2, 3)


def chunks():
    slab = gdb.lookup_static_symbol('slab') or gdb.lookup_symbol('slab')[0]
    table = gdb.lookup_global_symbol('fm__slab_chunks')
    if slab is None or table is None:
        raise gdb.GdbError('no debug information of fibermap')
    count = int(slab.value()['chunk_count'])
    base = int(table.value().address)
    for i in range(count):
        yield read_word(base + 8 * i)


def fibers():
    """All that live, in the order of their slots."""
    Fiber.prepare()
    each = gdb.lookup_type('struct fm_fiber').sizeof
    in_chunk = 1024
    found = []
    for chunk in chunks():
        image = read(chunk, each * in_chunk)
        for i in range(in_chunk):
            part = image[i * each:(i + 1) * each]
            offset, _ = Fiber.offsets['refs']
            # most are free: the count of references is looked at before all else
            if part[offset:offset + 3] == b'\0\0\0':
                continue
            fiber = Fiber(chunk + i * each, part)
            if fiber.kind == KIND_TASK and LIVES[fiber.state & 7] != 'done':
                found.append(fiber)
    mark_running(found)
    return found


def mark_running(found):
    by_address = {fiber.address: fiber for fiber in found}
    workers_at, _ = offset_of('struct fm_runtime', 'sched.workers')
    current_at, _ = offset_of('struct worker', 'current')
    thread_at, _ = offset_of('struct worker', 'kernel_id')
    index_at, _ = offset_of('struct worker', 'index')
    for runtime in {fiber.runtime for fiber in found}:
        for i in range(256):
            worker = read_word(runtime + workers_at + 8 * i)
            if not worker:
                break
            fiber = by_address.get(read_word(worker + current_at))
            if fiber:
                fiber.worker = (struct.unpack('<i', read(worker + index_at, 4))[0],
                                struct.unpack('<i', read(worker + thread_at, 4))[0])


def calls(fiber):
    """The return addresses of one that does not run, along its frame pointers."""
    registers, size, _, frame = layout()
    fctx = fiber.fctx
    yield read_word(fctx + registers.get('rip', registers.get('pc')))
    below, at = fctx, read_word(fctx + registers[frame])
    while at > below and at - fctx < 1 << 24:
        following, address = struct.unpack('<QQ', read(at, 16))
        if not following:
            return
        yield address
        below, at = at, following


def function_at(address):
    block = gdb.block_for_pc(address - 1)
    while block and not block.function:
        block = block.superblock
    return block.function.name if block else None


def is_own(address):
    line = gdb.find_pc_line(address - 1)
    path = line.symtab.filename if line.symtab else ''
    return not path or '/runtime/' in path or '/fibermap/' in path or path.startswith('runtime/')


def place(fiber):
    """The innermost function that is the user's."""
    try:
        for address in calls(fiber):
            if not is_own(address):
                line = gdb.find_pc_line(address - 1)
                name = line.symtab.filename.rsplit('/', 1)[-1]
                return f'{function_at(address)} {name}:{line.line}'
    except gdb.MemoryError:
        pass
    return ''


class InfoFibers(gdb.Command):
    """info fibers: all fibers that live."""

    def __init__(self):
        super().__init__('info fibers', gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        for fiber in fibers():
            words = [f'{fiber.id:>12}', f'{fiber.life():8}']
            if fiber.worker:
                words.append('on worker %d, thread %d' % fiber.worker)
            elif fiber.waits_for:
                words.append(f'in {read_text(fiber.waits_for)}')
            name = fiber.name()
            if name:
                words.append(f'"{name}"')
            key = fiber.key()
            if key:
                words.append(f'key "{key}"')
            if fiber.has_saved():
                at = place(fiber)
                if at:
                    words.append(f'at {at}')
            gdb.write(' '.join(words) + '\n')


class FiberUnwinder(gdb.unwinder.Unwinder):
    """Takes a fiber's saved registers for the caller of the current thread's innermost frame."""

    def __init__(self):
        super().__init__('fm-fiber')
        self.fctx = None
        self.thread_sp = None

    def __call__(self, pending):
        if self.fctx is None:
            return None
        registers, size, sp_name, _ = layout()
        sp = int(pending.read_register(sp_name)) & (1 << 64) - 1
        if sp != self.thread_sp:
            return None
        word = gdb.lookup_type('unsigned long')
        pc = pending.read_register('pc')
        # a frame of its own just below the fiber's: gdb ends a walk that goes down the addresses
        info = pending.create_unwind_info(FrameId(gdb.Value(self.fctx - 64).cast(word), pc))
        for name, offset in registers.items():
            at = gdb.Value(self.fctx + offset).cast(word.pointer())
            info.add_saved_register(name, at.dereference())
        info.add_saved_register(sp_name, gdb.Value(self.fctx + size).cast(word))
        return info


class FrameId:
    def __init__(self, sp, pc):
        self.sp = sp
        self.pc = pc


class FiberCommand(gdb.Command):
    """fiber ID|NAME|KEY COMMAND...: a command in the innermost frame of a fiber; bt shows its calls."""

    def __init__(self):
        super().__init__('fiber', gdb.COMMAND_STACK)
        self.unwinder = FiberUnwinder()
        gdb.unwinder.register_unwinder(None, self.unwinder, replace=True)

    def find(self, word):
        found = [fiber for fiber in fibers()
                 if word in (str(fiber.id), fiber.name(), fiber.key())]
        if not found:
            raise gdb.GdbError(f'no fiber {word}')
        return found[0]

    def invoke(self, argument, from_tty):
        words = argument.split(None, 1)
        if len(words) != 2:
            raise gdb.GdbError('fiber ID|NAME|KEY COMMAND...')
        fiber = self.find(words[0])
        if fiber.worker:
            self.in_thread(fiber.worker[1], words[1])
        elif fiber.has_saved():
            self.in_saved(fiber, words[1])
        else:
            raise gdb.GdbError(f'fiber {fiber.id} has not begun')

    def in_thread(self, kernel_id, command):
        before = gdb.selected_thread()
        for thread in gdb.selected_inferior().threads():
            if kernel_id in thread.ptid:
                thread.switch()
                gdb.execute(command)
                break
        else:
            raise gdb.GdbError(f'no thread {kernel_id}')
        before.switch()

    def in_saved(self, fiber, command):
        _, _, sp_name, _ = layout()
        gdb.newest_frame().select()
        self.unwinder.thread_sp = int(gdb.newest_frame().read_register(sp_name)) & (1 << 64) - 1
        self.unwinder.fctx = fiber.fctx
        gdb.invalidate_cached_frames()
        try:
            gdb.newest_frame().older().select()
            if command.split()[0] in ('bt', 'backtrace', 'where'):
                self.backtrace()
            else:
                gdb.execute(command)
        finally:
            self.unwinder.fctx = None
            gdb.invalidate_cached_frames()
            gdb.newest_frame().select()

    def backtrace(self):
        """As gdb's, counted from the fiber's innermost frame."""
        frame, number = gdb.newest_frame().older(), 0
        while frame:
            gdb.write(f'#{number} {frame.pc():#x} in {frame.name() or "??"} ({self.arguments(frame)})')
            line = frame.find_sal()
            if line.symtab:
                gdb.write(f' at {line.symtab.filename}:{line.line}')
            gdb.write('\n')
            frame, number = frame.older(), number + 1

    def arguments(self, frame):
        try:
            block = frame.block()
        except RuntimeError:
            return ''
        while block and not block.function:
            block = block.superblock
        if not block:
            return ''
        return ', '.join(f'{symbol.name}={symbol.value(frame)}' for symbol in block if symbol.is_argument)


InfoFibers()
FiberCommand()
