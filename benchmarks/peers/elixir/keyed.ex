# SPDX-License-Identifier: Apache-2.0

defmodule Keyed do
  @moduledoc "The work of bench_keyed.c over a Registry and DynamicSupervisors."
  import Peer

  defp names(count) do
    stems = {"j-", "job-", "user-", "session-", "connection-"}

    for i <- 0..(count - 1) do
      elem(stems, rem(i, 5)) <> String.pad_leading(Integer.to_string(i), 7, "0")
    end
  end

  defp with_map(body) do
    {:ok, map} = KeyedMap.start_link()
    body.()
    KeyedMap.clear()
    Supervisor.stop(map)
  end

  defp await(pid) do
    monitor = Process.monitor(pid)

    receive do
      {:DOWN, ^monitor, :process, _pid, _why} -> :ok
    end
  end

  def sequential(count) do
    with_map(fn ->
      keys = names(count)
      start = now()

      for key <- keys do
        {pid, 0} = KeyedMap.replace(key, fn -> :ok end)
        await(pid)
      end

      per_op("i-seq", start, count)
    end)
  end

  def batch(count) do
    with_map(fn ->
      round = size("keys", 1000)
      count = div(count, round) * round
      bodies = :counters.new(1, [])
      keys = names(count)
      start = now()

      for some <- Enum.chunk_every(keys, round) do
        pids = for key <- some, do: elem(KeyedMap.replace(key, count_in(bodies)), 0)
        Enum.each(pids, &await/1)
      end

      per_op("i-batch", start, count)
      check(:counters.get(bodies, 1) == count, "batch")
    end)
  end

  defp count_in(bodies), do: fn -> :counters.add(bodies, 1, 1) end

  def storm(count, metric) do
    with_map(fn ->
      keys = List.to_tuple(names(size("keys", 1000)))
      start = now()

      replaced =
        Enum.reduce(0..(count - 1), 0, fn i, sum ->
          {_pid, replaced} = KeyedMap.replace(elem(keys, rem(i, tuple_size(keys))), :block)
          sum + replaced
        end)

      left = KeyedMap.clear()
      per_op(metric, start, count)
      check(replaced + left == count, "storm")
    end)
  end

  def held(count) do
    with_map(fn ->
      [key] = names(1)
      KeyedMap.replace(key, :block)
      share = div(count, workers())
      start = now()

      kept =
        together(
          for _ <- 1..workers() do
            fn -> Enum.count(1..share, fn _ -> not KeyedMap.keep(key, :block) end) end
          end
        )

      per_op("iii", start, share * workers())
      check(Enum.sum(kept) == share * workers(), "started")
    end)
  end

  def lookup(count) do
    with_map(fn ->
      keys = names(size("entries", 100_000))
      Enum.each(keys, &KeyedMap.replace(&1, :block))
      order = keys |> Enum.shuffle() |> List.to_tuple()
      :persistent_term.put(:order, order)
      share = div(count, workers())
      start = now()

      found =
        together(
          for worker <- 1..workers() do
            fn -> find_many(:persistent_term.get(:order), worker * 7919, share, 0) end
          end
        )

      per_op("iv", start, share * workers())
      check(Enum.sum(found) == share * workers(), "not found")
    end)
  end

  defp find_many(_order, _place, 0, found), do: found

  defp find_many(order, place, left, found) do
    pid = KeyedMap.get(elem(order, rem(place, tuple_size(order))))
    find_many(order, place + 1, left - 1, if(pid, do: found + 1, else: found))
  end

  def hot(count) do
    with_map(fn ->
      keys = List.to_tuple(names(size("hot", 16)))
      each = div(count, 2)
      start = now()

      together(
        for seed <- 1..2 do
          fn ->
            :rand.seed(:exsss, seed)
            Enum.each(1..each, fn _ -> hot_one(keys) end)
          end
        end
      )

      per_op("v", start, each * 2)
    end)
  end

  defp hot_one(keys) do
    key = elem(keys, :rand.uniform(tuple_size(keys)) - 1)

    case :rand.uniform(100) - 1 do
      percent when percent < 50 -> KeyedMap.replace(key, :block)
      percent when percent < 75 -> KeyedMap.get(key)
      percent when percent < 90 -> KeyedMap.interrupt(key)
      _ -> KeyedMap.keep(key, :block)
    end
  end

  def clear(count) do
    with_map(fn ->
      Enum.each(names(count), &KeyedMap.replace(&1, :block))
      start = now()
      ended = KeyedMap.clear()
      per_op("vi", start, count)
      check(ended == count, "clear")
    end)
  end
end
