# SPDX-License-Identifier: Apache-2.0

defmodule Fairness do
  @moduledoc "How late a sleeper wakes beside processes that compute."
  import Peer

  defp compute_until(stop) do
    if now() < stop, do: compute_until(stop)
  end

  defp until_over(turn) do
    receive do
      :over -> :ok
    after
      0 ->
        turn.()
        until_over(turn)
    end
  end

  defp sleep_many(count) do
    for _ <- 1..count do
      wake = now() + 1_000_000
      Process.sleep(1)
      now() - wake
    end
  end

  defp beside(count, hogs, turn, p50, p99) do
    hogs = for _ <- 1..hogs, do: spawn_monitor(fn -> until_over(turn) end)
    late = fn -> sleep_many(count) end |> Task.async() |> Task.await(:infinity) |> Enum.sort()
    for {pid, _} <- hogs, do: send(pid, :over)

    for {_, monitor} <- hogs do
      receive do
        {:DOWN, ^monitor, :process, _pid, reason} -> check(reason == :normal, "a hog failed")
      end
    end

    check(length(late) == count and hd(late) >= 0, "too early")
    report(p50, "us", Enum.at(late, div(count, 2)) / 1000)
    report(p99, "us", Enum.at(late, count - 1 - div(count, 100)) / 1000)
  end

  def hog(count) do
    if workers() > 1 do
      turn = fn -> compute_until(now() + 1000) end
      beside(count, 1, turn, "beside a hog, p50", "beside a hog, p99")
    end
  end

  def yielding(count) do
    slice = size("slice", 100) * 1000

    turn = fn ->
      compute_until(now() + slice)
      :erlang.yield()
    end

    hogs = size("hogs", 4) * workers()
    beside(count, hogs, turn, "beside hogs that yield, p50", "beside hogs that yield, p99")
  end
end
