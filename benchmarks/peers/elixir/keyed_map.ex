# SPDX-License-Identifier: Apache-2.0

defmodule KeyedMap do
  @moduledoc """
  Supervision by key as Elixir programs write it: a Registry of unique keys, and a
  DynamicSupervisor for each scheduler. A name is free again when its process has ended, so that
  replacing waits for the end of the old one.
  """
  use Supervisor

  defmodule Worker do
    @moduledoc "A process under a key: runs its body once, or waits until it is stopped."
    use GenServer, restart: :temporary

    def start_link({key, body}) do
      GenServer.start_link(__MODULE__, body, name: KeyedMap.name(key))
    end

    @impl true
    def init(:block), do: {:ok, nil}
    def init(body), do: {:ok, body, {:continue, :run}}

    @impl true
    def handle_continue(:run, body) do
      body.()
      {:stop, :normal, nil}
    end
  end

  def start_link, do: Supervisor.start_link(__MODULE__, nil)

  @impl true
  def init(nil) do
    children = [
      {Registry, keys: :unique, name: KeyedMap.Names, partitions: System.schedulers_online()},
      {PartitionSupervisor, child_spec: DynamicSupervisor, name: KeyedMap.Supervisors}
    ]

    Supervisor.init(children, strategy: :one_for_all)
  end

  def name(key), do: {:via, Registry, {KeyedMap.Names, key}}

  defp supervisor(key), do: {:via, PartitionSupervisor, {KeyedMap.Supervisors, key}}

  @doc "Start under a key that nobody holds; else {:error, {:already_started, pid}}."
  def start(key, body) do
    DynamicSupervisor.start_child(supervisor(key), {Worker, {key, body}})
  end

  @doc "Start under a key, in place of whoever holds it; gives {pid, how many were replaced}."
  def replace(key, body, replaced \\ 0) do
    case start(key, body) do
      {:ok, pid} ->
        {pid, replaced}

      {:error, {:already_started, old}} ->
        DynamicSupervisor.terminate_child(supervisor(key), old)
        replace(key, body, replaced + 1)
    end
  end

  @doc "Start under a key if nobody holds it; true if it did."
  def keep(key, body) do
    get(key) == nil and match?({:ok, _pid}, start(key, body))
  end

  def get(key) do
    case Registry.lookup(KeyedMap.Names, key) do
      [{pid, _value}] -> pid
      [] -> nil
    end
  end

  @doc "Stop who holds the key; does not wait."
  def interrupt(key) do
    pid = get(key)
    pid && Process.exit(pid, :shutdown)
  end

  @doc "Stop all and wait for them; gives their number."
  def clear do
    pids = Registry.select(KeyedMap.Names, [{{:_, :"$1", :_}, [], [:"$1"]}])
    Enum.each(pids, &Process.monitor/1)
    Enum.each(pids, &Process.exit(&1, :shutdown))
    # in the order in which they end: to look for one after the other is quadratic
    Enum.each(pids, fn _ ->
      receive do
        {:DOWN, _monitor, :process, _pid, _why} -> :ok
      end
    end)

    length(pids)
  end
end
