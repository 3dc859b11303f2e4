# SPDX-License-Identifier: Apache-2.0

defmodule Processes do
  @moduledoc "Processes: yield, spawn and join, trees, ping-pong, a crowd that waits."
  import Peer

  def yields(count) do
    processes = 2 * workers()
    each = div(count, processes)
    start = now()
    together(for _ <- 1..processes, do: fn -> yield_many(each) end)
    report("yield", "ns", (now() - start) * workers() / (each * processes))
  end

  defp yield_many(0), do: :ok

  defp yield_many(n) do
    :erlang.yield()
    yield_many(n - 1)
  end

  defp start_nothing do
    {_pid, monitor} = spawn_monitor(fn -> :ok end)
    monitor
  end

  defp join(monitor) do
    receive do
      {:DOWN, ^monitor, :process, _pid, :normal} -> 1
    end
  end

  def spawn_one(count) do
    start = now()
    joined = Enum.reduce(1..count, 0, fn _, sum -> sum + join(start_nothing()) end)
    per_op("spawn+join, one at a time", start, count)
    check(joined == count, "a process is missing")
  end

  def spawn_batch(count) do
    batch = size("batch", 1000)
    rounds = div(count, batch)
    start = now()

    joined =
      Enum.reduce(1..rounds, 0, fn _, sum ->
        monitors = for _ <- 1..batch, do: start_nothing()
        Enum.reduce(monitors, sum, &(join(&1) + &2))
      end)

    per_op("spawn 1000, join all", start, rounds * batch)
    check(joined == rounds * batch, "a process is missing")
  end

  defp fib_of(n) when n < 2, do: n

  defp fib_of(n) do
    parent = self()
    tag = make_ref()
    spawn_link(fn -> send(parent, {tag, fib_of(n - 1)}) end)
    own = fib_of(n - 2)

    receive do
      {^tag, other} -> own + other
    end
  end

  def fib(n) do
    {a, b} = Enum.reduce(1..n, {0, 1}, fn _, {a, b} -> {b, a + b} end)
    start = now()
    result = fib_of(n)
    per_op("fib, per fork", start, b - 1)
    check(result == a, "another number")
  end

  defp grow(first, 1, parent), do: send(parent, first)

  defp grow(first, leaves, parent) do
    me = self()
    step = div(leaves, 10)
    for i <- 0..9, do: spawn_link(fn -> grow(first + i * step, step, me) end)
    send(parent, sum_of(10, 0))
  end

  defp sum_of(0, sum), do: sum

  defp sum_of(n, sum) do
    receive do
      value -> sum_of(n - 1, sum + value)
    end
  end

  def skynet(leaves) do
    me = self()
    start = now()
    spawn_link(fn -> grow(0, leaves, me) end)
    sum = sum_of(1, 0)
    report("skynet", "ms", (now() - start) / 1.0e6)
    check(sum == div(leaves * (leaves - 1), 2), "another sum")
  end

  def ping_pong(count) do
    if workers() == 1 do
      other = spawn_link(&answer/0)
      start = now()
      turns = Enum.reduce(1..count, 0, fn _, sum -> sum + play(other) end)
      per_op("ping-pong, channel", start, count)
      send(other, :stop)
      check(turns == count, "a turn is missing")
    end
  end

  defp play(other) do
    send(other, {self(), 1})

    receive do
      {^other, ball} -> ball
    end
  end

  defp answer do
    receive do
      {from, ball} ->
        send(from, {self(), ball})
        answer()

      :stop ->
        :ok
    end
  end

  @doc "Measures in its first run alone: in the second the memory would be there already."
  def parked(count) do
    print(true)
    me = self()
    before = :erlang.memory(:total)
    start = now()

    processes =
      for _ <- 1..count do
        spawn(fn ->
          send(me, 1)

          receive do
            :go -> send(me, 1)
          end
        end)
      end

    check(sum_of(count, 0) == count, "somebody does not wait")
    per_op("create cold and wait", start, count)
    report("waiting, resident", "bytes", (:erlang.memory(:total) - before) / count)
    start = now()
    Enum.each(processes, &send(&1, :go))
    check(sum_of(count, 0) == count, "somebody did not end")
    per_op("wake all, see them end", start, count)
    :cold
  end
end
