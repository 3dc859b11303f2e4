# SPDX-License-Identifier: Apache-2.0

defmodule KeyedWaits do
  @moduledoc """
  The restarts of bench_keyed_waits.c: a supervisor's children, each under an id, that fail until
  they have been restarted often enough.
  """
  import Peer

  defmodule Failing do
    @moduledoc "Ends at once: as a failure, until its count is reached; then it tells."
    def start_link(counts, key, restarts, whom) do
      {:ok, spawn_link(fn -> run(counts, key, restarts, whom) end)}
    end

    defp run(counts, key, restarts, whom) do
      before = :counters.get(counts, key)
      :counters.add(counts, key, 1)
      if before < restarts, do: exit(:again)
      send(whom, {:enough, key})
    end
  end

  def restart(count) do
    # the supervisor reports every failure
    Logger.configure(level: :none)
    keys = size("keys", 1000)
    restarts = div(count + keys - 1, keys)
    counts = :counters.new(keys, [])

    children =
      for key <- 1..keys do
        %{
          id: "job-#{key}",
          start: {Failing, :start_link, [counts, key, restarts, self()]},
          restart: :transient
        }
      end

    often = [strategy: :one_for_one, max_restarts: 1_000_000_000, max_seconds: 1]
    start = now()
    {:ok, supervisor} = Supervisor.start_link(children, often)

    for key <- 1..keys do
      receive do
        {:enough, ^key} -> :ok
      end
    end

    per_op("restart storm", start, keys * restarts)
    Supervisor.stop(supervisor)
    bodies = Enum.sum(for key <- 1..keys, do: :counters.get(counts, key))
    check(bodies == keys * (restarts + 1), "bodies")
  end
end
