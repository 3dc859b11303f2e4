# SPDX-License-Identifier: Apache-2.0

defmodule Peer do
  @moduledoc """
  The questions of the benchmarks, asked of Elixir on the BEAM.

  peer QUESTION [--workers N] [--only CASE] [--count N] [--NAME N]... does each case twice and
  prints the second time as a JSON line. A worker is a scheduler of the BEAM.
  """

  defp questions do
    %{
      "yield" => [{"yield", 1_000_000, &Processes.yields/1}],
      "spawn_join" => [
        {"one", 200_000, &Processes.spawn_one/1},
        {"batch", 200_000, &Processes.spawn_batch/1}
      ],
      "fib" => [{"later", 22, &Processes.fib/1}],
      "skynet" => [{"later", 1_000_000, &Processes.skynet/1}],
      "pingpong" => [{"channel", 300_000, &Processes.ping_pong/1}],
      "parked" => [{"parked", 1_000_000, &Processes.parked/1}],
      "fairness" => [
        {"hog", 1000, &Fairness.hog/1},
        {"yielding", 500, &Fairness.yielding/1}
      ],
      "keyed_waits" => [{"restart", 20_000, &KeyedWaits.restart/1}],
      "keyed" => [
        {"i-seq", 20_000, &Keyed.sequential/1},
        {"i-batch", 20_000, &Keyed.batch/1},
        {"ii", 20_000, &Keyed.storm(&1, "ii")},
        {"iii", 500_000, &Keyed.held/1},
        {"iv", 500_000, &Keyed.lookup/1},
        {"v", 40_000, &Keyed.hot/1},
        {"vi", 20_000, &Keyed.clear/1}
      ]
    }
  end

  def main(["--version"]) do
    IO.puts("Elixir #{System.version()}, OTP #{System.otp_release()}")
  end

  def main([question | words]) do
    sizes = words |> Enum.chunk_every(2) |> Map.new(fn [name, value] -> {name, value} end)
    :persistent_term.put(:sizes, sizes)

    for {name, count, body} <- Map.fetch!(questions(), question),
        name == Map.get(sizes, "--only", name) do
      # a case that has measured cold has nothing to say the second time
      Enum.find([false, true], fn printing ->
        print(printing)
        body.(size("count", count)) == :cold
      end)
    end
  end

  def size(name, otherwise) do
    case Map.get(:persistent_term.get(:sizes), "--" <> name) do
      nil -> otherwise
      text -> String.to_integer(text)
    end
  end

  def workers, do: :erlang.system_info(:schedulers)
  def now, do: System.monotonic_time(:nanosecond)

  def per_op(metric, start, count), do: report(metric, "ns", (now() - start) / count)

  def print(printing), do: :persistent_term.put(:printing, printing)

  def report(metric, unit, value) do
    if :persistent_term.get(:printing) do
      IO.puts(
        ~s({"who":"elixir","metric":"#{metric}","workers":#{workers()},) <>
          ~s("unit":"#{unit}","median":#{value}})
      )
    end
  end

  def check(true, _what), do: :ok

  def check(false, what) do
    IO.puts(:stderr, "peer: #{what}")
    System.halt(1)
  end

  @doc "Run each function in a process of its own, wait for all, give their results."
  def together(functions) do
    functions |> Enum.map(&Task.async/1) |> Task.await_many(:infinity)
  end
end
